"""Compiled code as object files: made by numba once for a host, from then on linked without it.

    address = entry("emulator.units.vec", "vec.relu.f32", KERNEL_SIGNATURE, function)

Starting the compiler takes longer than most programs run, and it stays in memory. A program needs only some kilobytes of machine
code. An object file lies in ~/.cache/slimulator/kernels, in a folder for this state of the sources, the compiler and the
processor. It begins with a digest of its code. So old or damaged code is never linked (isa/caches.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llvmlite import binding

from emulator.native.features import LEVEL
from isa.caches import KERNELS, used
from isa.files import replacing
from isa.shipped import ROOT

COMPILER = "emulator.native.object_code"
_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+([\w.]+))", re.MULTILINE)
_DIGEST = 32
AGAIN = 3600.0                      # seconds after which a use is noted again: a run reads many small files
_linked: dict[tuple[str, str], tuple[int, Any]] = {}        # (address, engine that holds the code)
_listener: Callable[[str], None] | None = None


def on_compile(listener: Callable[[str], None] | None) -> None:
    """Have `listener` called with the name of what is being compiled, and with "" when that is done."""
    global _listener
    _listener = listener


def notify(what: str) -> None:
    """Tell the listener, if there is one."""
    if _listener is not None:
        _listener(what)


def is_kept(module: str, name: str) -> bool:
    """True if there is code to link."""
    return (module, name) in _linked or any(KERNELS.places(_file(module, name)))


def entry(module: str, name: str, signature: str, function: Callable[[], Any], what: str | None = None) -> int:
    """Host address of compiled code: what is kept of the state of `module`, else `function()`, compiled now. 0: there is none.

    name: what the object exports. signature: numba's. what: says to the listener what it is.
    """
    if (module, name) not in _linked:
        code = _kept(module, name)
        if code is None:
            with KERNELS.locked(_file(module, name), partial(notify, f"{what or name}, in another process")):
                code = _kept(module, name)
                compiled = function() if code is None else None
                if compiled is not None:
                    notify(what or name)
                    from emulator.native.object_code import object_code
                    code = object_code(compiled, name, signature)
                    _keep(module, name, code)
            notify("")
        if code is None:
            return 0
        engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target().create_target_machine(jit=True))
        engine.add_object_file(binding.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _linked[module, name] = engine.get_function_address(name), engine
    return _linked[module, name][0]


def _kept(module: str, name: str) -> bytes | None:
    for path in KERNELS.places(_file(module, name)):
        with suppress(OSError):
            data = path.read_bytes()
            if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]:
                used(path, AGAIN)
                return data[_DIGEST:]
    return None


def _keep(module: str, name: str, code: bytes) -> None:
    def write(path: Path) -> None:
        with replacing(path) as stream:
            stream.write(hashlib.sha256(code).digest() + code)

    with suppress(OSError):             # a host that keeps nothing compiles each time
        KERNELS.keep(_file(module, name), write)


@cache
def _target() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_triple(binding.get_process_triple())


# ------------------------------------------------------------------------------------------------ where it is kept


def _file(module: str, name: str) -> str:
    return f"{state(module)}/{name}.o"


@cache
def state(module: str) -> str:
    """The name of this state of `module` and of all that it imports: an edit elsewhere in the project recompiles nothing."""
    host = f"{LEVEL} {binding.get_process_triple()} {binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    digest = hashlib.sha256(host.encode())
    for path in (*sorted(_sources(module) | _sources(COMPILER)), _version("numba"), _version("llvmlite")):
        digest.update(_text(path).encode())
    return digest.hexdigest()[:16]


def _version(library: str) -> Path:
    """The file that says which version is there. Importing the library would take much longer."""
    found = find_spec(library)
    assert found is not None and found.origin is not None
    return Path(found.origin).with_name("_version.py")


def _sources(module: str) -> frozenset[Path]:
    """The files of a module and of every module of this project that it imports, directly or not."""
    found: set[Path] = set()
    work = [module]
    while work:
        name = work.pop()
        base = ROOT.joinpath(*name.split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if path in found or not path.exists():
            continue
        found.add(path)
        for source, names, plain in _IMPORT.findall(_text(path)):
            parent = source or plain
            if parent.split(".")[0] in ("isa", "emulator"):
                work += [parent, *(f"{parent}.{item}" for item in re.findall(r"\w+", names))]
    return frozenset(found)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
