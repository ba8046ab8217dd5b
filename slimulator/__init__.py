"""The front door: the public API and the `slimulator` command.

    from slimulator import Machine, Program, assemble, load_preset

A name is imported when it is first used, so that `slimulator --help` answers at once. command_line.py has the command line,
commands/ its commands; the work is done in the other packages.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from slimulator.version import VERSION

__version__ = VERSION

_PUBLIC = {
    "assemble": "asm.assembler", "assemble_with_listing": "asm.assembler", "disassemble": "asm.disassembler",
    "Assembly": "asm.assembly", "AssemblyError": "asm.diagnostics",
    "Program": "isa.program", "ProgramError": "isa.program", "Section": "isa.program", "Symbol": "isa.program",
    "SnapshotError": "isa.engine.snapshot",
    "Preset": "isa.preset", "PresetError": "isa.preset", "load_preset": "isa.preset", "preset_names": "isa.preset",
    "Machine": "emulator.machine", "ReferenceMachine": "isa.reference", "RunResult": "isa.reference", "Host": "isa.services",
    "AlreadyRunning": "isa.engine.exclusive",
    "SimdError": "emulator.errors",
    "HazardCheck": "emulator.observe.hazards",
    "compile": "slimulator.api", "generate": "slimulator.api", "logits": "slimulator.api", "verify": "slimulator.api",
    "load_model": "slimulator.api", "float_graph": "slimulator.api", "ModelError": "compiler.errors",
    "Results": "slimulator.explore.table", "Study": "slimulator.explore.study", "StudyError": "slimulator.explore.errors",
    "read_study": "slimulator.explore.study", "sweep": "slimulator.explore.sweep",
    "invoke": "slimulator.command_line",
}

__all__ = sorted((*_PUBLIC, "main"))


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'slimulator' has no attribute {name!r}")
    from emulator.errors import SimdError
    try:
        return getattr(import_module(_PUBLIC[name]), name)
    except SimdError as error:                  # what it says is all there is to know: not the way through our imports
        raise error.with_traceback(None) from None


def main() -> None:
    """The console script: exit status 0, 1 for a user's mistake, 2 for usage, or the exit code of the program that ran."""
    try:
        from slimulator.command_line import run
    except KeyboardInterrupt:                                   # Ctrl-C while the commands are imported
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    run()
