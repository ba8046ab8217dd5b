"""From a Python function to an object file, by numba's compiler: the way from kernels to machine code.

The object exports the function alone, under the name that it is given, and needs nothing but the C library: no Python, no runtime
of numba's. What a kernel allocates comes from malloc.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import compiler, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target


@global_compiler_lock  # type: ignore[untyped-decorator]
def object_code(function: Callable[..., Any], name: str, signature: Any) -> bytes:
    """An object file that exports `function` as `name`, called as C functions are. It returns 0 where the function raises.

    signature: numba's, e.g. "int64(int64, int64)". Raises numba's errors for what cannot be compiled, LookupError for a function
    that needs more than the C library.
    """
    arguments, result = sigutils.normalize_signature(signature)
    flags: Any = compiler.Flags()
    flags.nrt = flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "python"
    compiled = compiler.compile_extra(cpu_target.typing_context, cpu_target.target_context, function, arguments, result, flags, {})
    library, context = compiled.library, compiled.target_context
    module = library.create_ir_module("entry")
    value = context.get_value_type(result)
    exported = ir.Function(module, ir.FunctionType(value, [context.get_value_type(kind) for kind in arguments]), name)
    builder = ir.IRBuilder(exported.append_basic_block())
    body = context.declare_function(module, compiled.fndesc)
    status, returned = context.call_conv.call_function(builder, body, result, arguments, list(exported.args))
    builder.ret(builder.select(status.is_ok, returned, ir.Constant(value, 0)))
    library.add_ir_module(module)
    memory = library.create_ir_module("memory")
    _allocation(memory)
    library.add_ir_module(memory)
    whole = library._final_module                               # linked and optimised as numba does, but not loaded
    for one in whole.functions:
        if not one.is_declaration and one.name != name:
            one.linkage = "linkonce_odr"                        # stays if it is called
    for dependency in dict.fromkeys(library._linking_libraries):
        whole.link_in(dependency._get_module_for_linking(), preserve=True)
    library._optimize_final_module()
    whole.verify()
    for one in whole.functions:
        if one.is_declaration and not one.name.startswith("llvm.") and not hasattr(ctypes.CDLL(None), one.name):
            raise LookupError(f"{name} needs {one.name}, which is not in the C library")
    code: bytes = library.codegen._tm.emit_object(whole)
    return code


def _allocation(module: Any) -> None:
    """What numba's arrays take their memory from and give it back to, with the block that owns it (numba/core/runtime/nrt.cpp).

    Words of the block: references, destructor, its argument, address of the data, bytes, allocator. The data lies behind it.
    """
    word, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
    malloc = ir.Function(module, ir.FunctionType(pointer, [word]), "malloc")
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), "free")

    allocate = ir.Function(module, ir.FunctionType(pointer, [word, ir.IntType(32)]), "NRT_MemInfo_alloc_aligned")
    builder = ir.IRBuilder(allocate.append_basic_block())
    size, alignment = allocate.args[0], builder.zext(allocate.args[1], word)
    behind = builder.add(alignment, word(48))
    block = builder.call(malloc, [builder.add(size, behind)])
    with builder.if_then(builder.icmp_unsigned("!=", block, pointer(None))):
        end = builder.add(builder.ptrtoint(block, word), behind)
        words = builder.bitcast(block, word.as_pointer())
        for i, value in enumerate((word(1), word(0), word(0), builder.sub(end, builder.urem(end, alignment)), size, word(0))):
            builder.store(value, builder.gep(words, [word(i)]))
    builder.ret(block)

    plain = ir.Function(module, ir.FunctionType(pointer, [word]), "NRT_Allocate")
    builder = ir.IRBuilder(plain.append_basic_block())
    builder.ret(builder.call(malloc, plain.args))
    for name in ("NRT_MemInfo_call_dtor", "NRT_Free"):
        release = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), name)
        builder = ir.IRBuilder(release.append_basic_block())
        builder.call(free, release.args)
        builder.ret_void()
