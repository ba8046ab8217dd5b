"""A kernel is a function below the mnemonic of its instruction; what comes before its first line follows from the row.

    @kernel("vec.add.f32", overlap=IN_PLACE)        # dst>f32[n] a<f32[n] b<f32[n] n
    def vec_add_f32(dst, a, b, n, block): ...

The function names the operands of the row that it needs, and `block`, the address of the context block. It gets

    an address whose bytes follow from the row (`Row.plain`)    the host address: aligned, in reach of the unit, not watched
    any other address, a number                                 what stands in the register, as int64
    the bits of a scalar (`s:f32`)                              the fp32 number

Of a translated address x it may also name `x_register` (what stands in the register), `x_bytes`, and `x_read` and `x_written` (the
counters of these bytes). It returns DONE or PUNT (emulator/kernel_words.py). Behind DONE, the bytes of translated addresses are
counted. Lengths are 0..2**28. The host address of no bytes is 1, and must not be used.

`overlap` is the rule for translated addresses that are written:

    APART       they share no byte with any other. This is the default.
    IN_PLACE    they share no byte with any other, or begin where an operand does that is read. Then element i of the result lies
                nowhere behind element i of that operand, so an element-wise loop that rises does the right thing.
    ANYWHERE    the kernel does the right thing however they lie.

An instruction whose operands break the rule is left to the reference engine, as one is that would trap.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import permutations
from typing import Any

from emulator import kernel_words as words
from emulator.native.block import DONE, PORT, PUNT
from emulator.native.inlining import specialised
from isa.instruction import LONGEST, SCALAR, TABLE, Operand, Row
from isa.numbers import FORMATS

APART, IN_PLACE, ANYWHERE = "apart", "in place", "anywhere"
Function = Callable[..., int]
KERNELS: dict[str, Function] = {}           # by mnemonic, prologue and all: (four operand values, context block) -> PUNT or DONE
_OPERANDS = 4
_WORDS = {"readable": words.readable, "writable": words.writable, "scalar": words.scalar, "overlap": words.overlap,
          "apart": words.apart, "count": words.count}


def kernel(*mnemonics: str, overlap: str = APART) -> Callable[[Function], Function]:
    """Register a function as the kernel of an instruction, or of several that have the same operands and do the same.

    Raises ValueError for a second kernel of an instruction, and for a parameter that its row does not have.
    """
    def register(function: Function) -> Function:
        merged = specialised(function)
        for mnemonic in mnemonics:
            if mnemonic in KERNELS:
                raise ValueError(f"{mnemonic} has two kernels")
            KERNELS[mnemonic] = _with_prologue(TABLE[mnemonic], function, merged, overlap)
        return function
    return register


def _with_prologue(row: Row, function: Function, merged: Any, overlap: str) -> Function:
    needed = list(inspect.signature(function).parameters)
    scope = {f"_{name}": word for name, word in _WORDS.items()} | {"_body": merged, "DONE": DONE, "PUNT": PUNT}
    exec(compile(prologue(row, needed, overlap), f"<prologue of {row.mnemonic}>", "exec"), scope)
    made: Function = scope["kernel"]
    made.__module__, made.__name__, made.__qualname__ = function.__module__, function.__name__, function.__qualname__
    made.__doc__ = function.__doc__
    return made


def prologue(row: Row, needed: list[str], overlap: str = APART) -> str:
    """The Python text around the kernel of a row: what is compiled. `needed` are the names that the kernel asks for.

        def kernel(dst, x, n, _3, block):                   # vec.relu.f32, IN_PLACE
            if n < 0 or n > 268435456:
                return PUNT
            dst_bytes = n * 4
            x_bytes = n * 4
            x_host, x_read = _readable(block, 4, x, x_bytes, 4)
            dst_host, dst_written = _writable(block, 4, dst, dst_bytes, 4)
            if x_host == 0 or dst_host == 0:
                return PUNT
            if not _apart(dst_host, dst_bytes, x_host, x_bytes):
                return PUNT
            if _body(dst_host, x_host, n, block) == PUNT:
                return PUNT
            _count(block, x_read, x_bytes)
            _count(block, dst_written, dst_bytes)
            return DONE

    Raises ValueError for a name that there is not.
    """
    names = [operand.name for operand in row.operands if operand is not row.result]
    given = {name: name for name in (*names, "block")}
    given |= {operand.name: f"_scalar({operand.name})" for operand in row.operands if operand.role == SCALAR}
    sizes, lookups, counts, absent = [], [], [], []
    for operand in row.plain:
        x = operand.name
        given |= {x: f"{x}_host", f"{x}_register": x, f"{x}_bytes": f"{x}_bytes"}
        sizes.append(f"{x}_bytes = {_bytes(operand)}")
    for operand, host, moves, look_up in _moves(row):
        x = operand.name
        given[f"{x}_{moves}"] = f"{x}_{moves}"
        lookups.append(f"{host}, {x}_{moves} = _{look_up}(block, {PORT[row.unit]}, {x}, {x}_bytes, {operand.layout.align})")
        absent.append(f"{host} == 0")
        counts.append(f"_count(block, {x}_{moves}, {x}_bytes)")
    if unknown := set(needed) - given.keys():
        raise ValueError(f"the kernel of {row.mnemonic} asks for {', '.join(sorted(unknown))}; expected some of {', '.join(given)}")

    def punt_if(conditions: Iterable[str]) -> list[str]:
        return [line for condition in conditions for line in (f"if {condition}:", "    return PUNT")]

    parameters = [*names, *(f"_{i}" for i in range(len(names), _OPERANDS)), "block"]
    lines = [*punt_if(f"{name} < 0 or {name} > {LONGEST}" for name in row.lengths), *sizes, *lookups,
             *punt_if([" or ".join(absent)] if absent else []), *punt_if(_collisions(row, overlap)),
             *punt_if([f"_body({', '.join(given[name] for name in needed)}) == PUNT"]), *counts, "return DONE"]
    return "\n".join([f"def kernel({', '.join(parameters)}):", *(f"    {line}" for line in lines)])


def _moves(row: Row) -> Iterator[tuple[Operand, str, str, str]]:
    """(operand, name of its host address, "read" or "written", how it is looked up): what is read before what is written."""
    for operand in row.plain:
        if "<" in operand.access:
            yield operand, operand.name + ("_read_host" if ">" in operand.access else "_host"), "read", "readable"
    for operand in row.plain:
        if ">" in operand.access:
            yield operand, f"{operand.name}_host", "written", "writable"


def _collisions(row: Row, overlap: str) -> Iterator[str]:
    """Conditions under which plain operands lie as the rule does not allow."""
    for written, other in permutations(row.plain, 2):
        twice = ">" in other.access and row.plain.index(other) < row.plain.index(written)       # both are written: asked already
        if overlap != ANYWHERE and ">" in written.access and not twice:
            place = ", ".join(f"{operand.name}_host, {operand.name}_bytes" for operand in (written, other))
            may_begin_there = overlap == IN_PLACE and other.access == "<" and written.layout.align <= other.layout.align
            yield f"not _apart({place})" if may_begin_there else f"_overlap({place})"


def _bytes(operand: Operand) -> str:
    """The bytes of a plain operand, as text."""
    *rows, cols = operand.layout.dims or ("1",)
    fmt = FORMATS[operand.layout.form]
    if fmt.fields and fmt.fields != (8,):
        size = " + ".join(f"({cols} * {width} + 7 >> 3)" for width in fmt.fields)
    else:
        size = f"{cols} * {fmt.row_bytes(1)}"
    return " * ".join([*rows, f"({size})" if rows else size])
