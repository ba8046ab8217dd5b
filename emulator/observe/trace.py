"""The trace: a line for each instruction, in columns, with its effects. docs/command-line.md explains it to users.

    n  pc  symbol  source  word  instruction  effects

Columns are two or more spaces apart, effects are separated by "; ", and `-` stands for what is unknown or absent. A Selection
chooses what is traced: units, ranges of code, registers, ranges of memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emulator.errors import TraceError
from isa.counters import COUNTERS
from isa.csrs import BY_ADDRESS
from isa.disassembly import SymbolIndex, format_instruction
from isa.hints import nearest
from isa.instruction import Row
from isa.preset import CORE_UNITS
from isa.program import Program
from isa.reference import ReferenceMachine, Step, Where
from isa.registers import ABI_NAMES, NUMBER
from isa.text import printable
from isa.units import UNITS

COLUMNS = ("n", "pc", "symbol", "source", "word", "instruction", "effects")
HEAD = 16                   # bytes shown of what was written
_REMEMBERED = 1 << 16       # instructions whose text is kept
_ALWAYS = "core.instructions"


# ------------------------------------------------------------------------------------------------ what is traced


@dataclass(frozen=True)
class Selection:
    """The instructions to trace: those that fit all of these. An empty one fits any instruction."""

    units: frozenset[str] = frozenset()
    code: tuple[tuple[int, int], ...] = ()              # (start, end) of ranges of pc
    registers: frozenset[int] = frozenset()             # numbers
    writes: tuple[tuple[int, int], ...] = ()            # (address, bytes) of memory written

    def where(self, machine: ReferenceMachine) -> Where | None:
        """The function that tells `hook` which instructions to observe. None: all."""
        if not (self.units or self.code or self.registers):
            return None

        def where(pc: int, row: Row | None) -> bool:
            return ((not self.units or (row is not None and row.unit in self.units))
                    and (not self.code or any(start <= pc < end for start, end in self.code))
                    and (not self.registers or (row is not None and self._may_set(machine, pc, row))))
        return where

    def _may_set(self, machine: ReferenceMachine, pc: int, row: Row) -> bool:
        if row.result is None:
            return row.mnemonic == "ecall"              # a service answers in a0
        word = int.from_bytes(machine.peek(pc, 4).tobytes(), "little")
        return row.result.field.extract(word) in self.registers

    def fits(self, step: Step) -> bool:
        """Whether the effects of an instruction fit. They are known only after it."""
        return not self.registers or (step.register is not None and step.register[0] in self.registers)


def selection(program: Program, units: Iterable[str] = (), code: Iterable[str] = (), registers: Iterable[str] = (),
              writes: Iterable[str] = ()) -> Selection:
    """A selection from text: names of units ("core": all base instructions), "START..END" or symbols, "a0,a1" or "any".

    Raises TraceError, and ProgramError for a symbol that the program does not have.
    """
    return Selection(frozenset(unit for name in units for unit in _units(name)),
                     tuple(map(program.range, code)),
                     frozenset(number for text in registers for number in _registers(text)),
                     tuple((start, end - start) for start, end in map(program.range, writes)))


def _units(name: str) -> Iterable[str]:
    if name != "core" and name not in UNITS:
        raise TraceError(_unknown("unit", name, ["core", *UNITS]))
    return CORE_UNITS if name == "core" else (name,)


def _registers(text: str) -> Iterable[int]:
    if text == "any":
        return range(1, 32)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NUMBER:
            raise TraceError(_unknown("register", name, ["any", *ABI_NAMES]))
    return [NUMBER[name] for name in names]


def _unknown(what: str, name: str, known: list[str]) -> str:
    return f"no {what} is called {name!r}; {nearest(name, known) or 'expected one of ' + ', '.join(known)}"


# ------------------------------------------------------------------------------------------------ lines


class Trace:
    """Makes the line of an instruction. For LineLog.follow."""

    header = "# " + "  ".join(COLUMNS)

    def __init__(self, program: Program, chosen: Selection) -> None:
        self._program, self._chosen = program, chosen
        self._symbols = SymbolIndex(program)
        self._wide_symbol = min(28, max((len(printable(s.name)) + 6 for s in program.symbols if s.section is not None), default=1))
        self._wide_place = max(map(len, map(printable, {line.file for line in program.lines})), default=0) + len(
            f":{max((line.line for line in program.lines), default=0)}")
        self._known: dict[tuple[int, int | None], str] = {}

    def __call__(self, machine: ReferenceMachine, step: Step) -> str:
        """The line of an instruction, "" if it is not traced."""
        if not self._chosen.fits(step):
            return ""
        at = step.pc, step.word
        if at not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[at] = self._instruction(*at)
        return f"{machine.spent:>9}  {self._known[at]}  {'; '.join(self._effects(machine, step)) or '-'}"

    def _instruction(self, pc: int, word: int | None) -> str:
        """The columns that are the same each time this instruction is executed."""
        text = "-" if word is None else format_instruction(word, pc, self._symbols)
        bits = "-" if word is None else f"{word:#010x}"
        symbol, place = printable(self._symbols.name(pc)), printable(self._program.line_at(pc))
        return (f"{pc:<#12x}  {symbol or '-':<{self._wide_symbol}}  {place or '-':<{self._wide_place}}  "
                f"{bits:<10}  {text:<36}")

    def _effects(self, machine: ReferenceMachine, step: Step) -> list[str]:
        if step.trap is not None:
            return [f"trap {int(step.trap)} {step.trap.name}"]
        effects = []
        if step.register is not None:
            effects.append(f"{ABI_NAMES[step.register[0]]} = {step.register[1]:#x}")
        csr = csr_written(step)
        if csr is not None:
            name = BY_ADDRESS[csr].name
            effects.append(f"{name} = {machine.csr(name):#x}")
        for address, size in step.reads:
            effects.append(f"read {size} at {self._place(address)}")
        for address, data in step.writes:
            head = data[:HEAD].tobytes().hex(" ") + (" ..." if len(data) > HEAD else "")
            effects.append(f"write {len(data)} at {self._place(address)}: {head}")
        if step.row is not None and step.row.is_xslim:
            moved = (machine.counts - step.before).tolist()
            effects += [f"{counter.name} +{moved[counter.slot]}" for counter in COUNTERS.values()
                        if moved[counter.slot] and counter.name != _ALWAYS]
        return effects

    def _place(self, address: int) -> str:
        name = self._symbols.name(address)
        return f"{address:#x} <{name}>" if name else f"{address:#x}"


def csr_written(step: Step) -> int | None:
    """The number of the CSR that an instruction wrote, None if it wrote none."""
    if step.row is None or step.trap is not None or "csr" not in step.fields:
        return None
    source = step.fields.get("rs1", step.fields.get("zimm", 0))
    return step.fields["csr"] if source or step.row.mnemonic in ("csrrw", "csrrwi") else None
