"""The reference engine: a plain Python loop over the meanings. Slow and obvious; it defines what every other engine must do.

It fetches a word, decodes it through the instruction table, hands the operand values to the row's meaning, writes the result
to rd, and commits. It imports no kernel and knows no instruction by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isa.counters import COUNTERS
from isa.csrs import BY_ADDRESS, MSTATUS_MIE, MSTATUS_MPIE
from isa.instruction import LONGEST, Row, decode
from isa.preset import Preset, load_preset
from isa.program import Program, ProgramError
from isa.registers import ABI_NAMES
from isa.services import Host
from isa.traps import MEANING, Cause, Trap
from isa.vocabulary import WORD, Vocabulary

_STACK_ROOM = 16            # bytes kept free above the initial stack pointer
_NO_EXIT = "a program ends with a7 = 93 and ecall: is this one's end missing?"


@dataclass(frozen=True)
class TrapReport:
    """A trap that no handler took: everything a person needs to find the cause."""

    cause: Cause
    value: int
    pc: int
    word: int | None                    # the instruction, if it could be fetched
    instruction: str                    # mnemonic with operand values
    symbol: str                         # "main+0x10", or "" without symbols
    place: str                          # "file.s:12", or "" without source lines
    detail: str

    def __str__(self) -> str:
        where = " ".join(filter(None, (f"{self.pc:#x}", self.symbol and f"<{self.symbol}>", self.place and f"({self.place})")))
        return (f"trap {int(self.cause)} ({self.cause.name.lower().replace('_', ' ')}) at pc {where}\n"
                f"  instruction: {self.instruction}\n  reason: {self.detail or MEANING[self.cause]}\n"
                f"  value: {self.value:#x}")


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `reason` is "exit", "trap" or "limit"; `exit_code` is the program's own, 0 unless it exited."""

    reason: str
    exit_code: int
    instructions: int
    trap: TrapReport | None = None


class ReferenceMachine(Vocabulary):
    """A Slim machine that executes meanings one by one. `machine` is a preset or its name."""

    def __init__(self, machine: Preset | str = "slim", host: Host | None = None) -> None:
        super().__init__(load_preset(machine) if isinstance(machine, str) else machine, host or Host())
        self.program: Program | None = None
        self._decoded: dict[int, tuple[Row, dict[str, int]] | None] = {}

    @property
    def counters(self) -> dict[str, int]:
        """Events by counter name."""
        return {name: self.counter(name) for name in COUNTERS}

    @property
    def spent(self) -> int:
        """What limits bound: instructions retired and traps taken, so that a handler that traps cannot go on for ever."""
        return self.counter("core.instructions") + self.counter("core.traps")

    def load(self, program: Program) -> None:
        """Place a program in memory, set pc to its entry and the stack pointer to the end of DRAM.

        Raises ProgramError when the program does not fit this machine.
        """
        self.memory.load(program)
        self.program = program
        self.pc = program.entry
        self.exit_code = None
        dram = self.machine.region("dram")
        self.x[2] = dram.base + dram.size - _STACK_ROOM
        for name in ("tohost", "fromhost"):
            symbol = program.symbol(name)
            if symbol is not None:
                region = self.memory.region(symbol.value, 8)
                if region is None or not region.writable:
                    raise ProgramError(f"the symbol {name} is {symbol.value:#x}, where machine {self.machine.name} has no 8 bytes "
                                       "to write", hint=f"{name} is a register of the host-target interface: rename the symbol, "
                                                        "or let it name a .dword in writable memory")
                setattr(self, name, symbol.value)

    def run(self, max_instructions: int | None = None) -> RunResult:
        """Execute until the program exits, a trap finds no handler, or the limit is reached. One that has exited stays where it is.

        Trapped instructions count towards the limit too, so a handler that itself traps comes to an end.
        """
        start = self.spent
        while max_instructions is None or self.spent - start < max_instructions:
            if self.exit_code is not None:
                return RunResult("exit", self.exit_code, self.counter("core.instructions"))
            report = self.step()
            if report is not None:
                return RunResult("trap", 0, self.counter("core.instructions"), report)
        if self.exit_code is not None:
            return RunResult("exit", self.exit_code, self.counter("core.instructions"))
        return RunResult("limit", 0, self.counter("core.instructions"))

    def step(self) -> TrapReport | None:
        """Execute one instruction. Returns a report when it traps and no handler is installed."""
        saved = self.counts.copy()
        self.begin()
        word: int | None = None
        try:
            word = self._fetch()
            with np.errstate(all="ignore"):
                self._execute(word)
        except Trap as trap:
            self.counts[:] = saved
            self.count("core.traps")
            if trap.cause is Cause.ILLEGAL_INSTRUCTION and word is not None:
                trap.value = word
            return self._enter_trap(trap, word)
        self.pc = self.next_pc & WORD
        self.count("core.instructions")
        self.commit()
        return None

    def _fetch(self) -> int:
        if self.pc % 4:
            raise Trap(Cause.FETCH_MISALIGNED, self.pc)
        region = self.memory.region(self.pc, 4)
        if region is None or region.name == "mmio" or not self.memory.holds(region, self.pc, 4):
            raise Trap(Cause.FETCH_ACCESS, self.pc, f"no executable memory at {self.pc:#x}" + ("" if self.pc else f"; {_NO_EXIT}"))
        return int(self.memory.view(region, self.pc, 4).view("<u4")[0])

    def _execute(self, word: int) -> None:
        if word not in self._decoded:
            self._decoded[word] = decode(word)
        found = self._decoded[word]
        if found is None:
            raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"{word:#010x} is not an instruction of this machine"
                                                           + ("" if word else f"; {_NO_EXIT}"))
        row, self.fields = found
        self.next_pc = self.pc + 4
        self.unit = row.unit if row.is_xslim else "core"
        if row.is_xslim:
            if not self.machine.has_unit(row.unit):
                raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"machine {self.machine.name} has no {row.unit} unit")
            self.count(f"{row.unit}.ops")
        values: dict[str, Any] = {
            operand.name: self.x[self.fields[operand.name]] if operand.is_register else self.fields[operand.name]
            for operand in row.operands if operand is not row.result}
        for name in row.lengths:
            if values[name] > LONGEST:
                raise Trap(Cause.CAPACITY, values[name],
                           f"{name} is {values[name]:#x}; expected at most {LONGEST:#x}: is it an address?")
        result = row.meaning(self, **values)
        if row.result is not None and result is not None and self.fields[row.result.name]:
            self.x[self.fields[row.result.name]] = int(result) & WORD

    def _enter_trap(self, trap: Trap, word: int | None) -> TrapReport | None:
        """Privileged specification, Volume II, "Trap-Related Registers": direct mode, machine mode throughout."""
        handler = self.csr("mtvec")
        if not handler:
            return self._report(trap, word)
        status = self.csr("mstatus")
        self.set_csr("mepc", self.pc)
        self.set_csr("mcause", int(trap.cause))
        self.set_csr("mtval", trap.value & WORD)
        self.set_csr("mstatus", (status & ~(MSTATUS_MIE | MSTATUS_MPIE)) | (MSTATUS_MPIE if status & MSTATUS_MIE else 0))
        self.pc = handler
        return None

    def _report(self, trap: Trap, word: int | None) -> TrapReport:
        found = None if word is None else decode(word)
        text = "(not fetched)" if word is None else f".word {word:#010x}"
        if found is not None:
            row, fields = found
            text = " ".join((row.mnemonic, ", ".join(
                f"{operand.name}={ABI_NAMES[fields[operand.name]]}={self.x[fields[operand.name]]:#x}"
                if operand.is_register else f"{operand.name}={_immediate(operand.name, fields[operand.name])}"
                for operand in row.operands))).strip()
        symbol = place = ""
        if self.program is not None:
            symbol, place = self.program.symbol_at(self.pc), self.program.line_at(self.pc)
        return TrapReport(trap.cause, trap.value & WORD, self.pc, word, text, symbol, place, trap.detail)


def _immediate(name: str, value: int) -> str:
    """A field that is no register, for people: CSRs by name."""
    return (BY_ADDRESS[value].name if value in BY_ADDRESS else f"{value:#x}") if name == "csr" else str(value)
