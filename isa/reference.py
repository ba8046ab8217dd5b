"""The reference engine: a plain Python loop over the meanings. Slow and obvious; it defines what every other engine must do.

It fetches a word, decodes it through the instruction table, hands the operand values to the row's meaning, writes the result
to rd, and commits. It imports no kernel and knows no instruction by name.
"""

from __future__ import annotations

import copy
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import index, is_
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from isa.counters import COUNTERS, Counters
from isa.csrs import MSTATUS_MIE, MSTATUS_MPIE, csr_text
from isa.engine.exclusive import Work, exclusive
from isa.engine.memory import Bytes
from isa.engine.operand_checks import check_operands
from isa.engine.state import WORD
from isa.engine.vocabulary import Vocabulary
from isa.engine.watchdog import INTERRUPTED, watched
from isa.instruction import Row, decode
from isa.notebook import as_html
from isa.preset import Preset, load_preset
from isa.program import Program, ProgramError, place_text
from isa.regions import DRAM
from isa.registers import ABI_NAMES
from isa.services import Host
from isa.tensor import read_tensor
from isa.timing.clock import Clock, Time
from isa.traps import MEANING, Cause, Trap

_STACK_ROOM = 16            # bytes kept free above the initial stack pointer
_NO_EXIT = "a program ends with a7 = 93 and ecall: is this one's end missing?"


def _whole(limit: Any) -> int:
    """A limit of instructions as an int, also from one of NumPy's integers. Raises ValueError for anything else."""
    if isinstance(limit, (bool, np.bool_)) or not hasattr(limit, "__index__") or index(limit) < 0:
        raise ValueError(f"max_instructions is {limit!r}; expected a whole number, 0 or more")
    return index(limit)


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
        return (f"trap {int(self.cause)} ({self.cause.name.lower().replace('_', ' ')}) "
                f"at pc {place_text(self.pc, self.symbol, self.place)}\n"
                f"  instruction: {self.instruction}\n  reason: {self.detail or MEANING[self.cause]}\n"
                f"  value: {self.value:#x}")


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `exit_code` is the program's own, None unless it exited.

    `reason` is "exit", "trap", "limit" (of instructions), "timeout", "interrupted" (Ctrl-C), "breakpoint" (pc stands at it),
    "watchpoint" (the last instruction wrote there), or what was given to `stop`.
    """

    reason: str
    exit_code: int | None
    instructions: int
    trap: TrapReport | None = None

    def unless_interrupted(self) -> RunResult:
        """Returns itself. Raises KeyboardInterrupt if Ctrl-C ended the run, for callers that cannot use an incomplete run."""
        if self.reason == INTERRUPTED:
            raise KeyboardInterrupt
        return self


@dataclass(frozen=True, slots=True)
class Step:
    """What one instruction did, for hooks."""

    pc: int
    word: int | None                        # None: it could not be fetched
    row: Row | None                         # None: the word is no instruction
    fields: dict[str, int]                  # register numbers, immediates and CSR numbers by operand name
    values: dict[str, int]                  # operand values by name, registers as they were before; without the result
    register: tuple[int, int] | None        # (number, new value) of the register that was set
    reads: list[tuple[int, int]]            # (address, bytes), in order; instruction fetch left out
    writes: list[tuple[int, Bytes]]         # (address, bytes that stand there now), in order
    trap: Cause | None                      # then nothing was set or written
    before: npt.NDArray[np.uint64]          # (SLOTS,) counters as they were


Hook = Callable[["ReferenceMachine", Step], None]
Where = Callable[[int, Row | None], bool]           # (pc, row): is this instruction to be observed?


class Observer(NamedTuple):
    """A hook, and the instructions after which, or `early` before which, it is called."""

    function: Hook
    where: Where | None
    writes: tuple[tuple[int, int], ...]             # (address, bytes): only instructions that write to one; (): any
    early: bool = False


class ReferenceMachine(Vocabulary):
    """A Slim machine that executes meanings one by one. `machine` is a preset or its name.

    `breakpoints` are addresses before which a run stops, unless it starts there. `watchpoints` are (address, bytes): a run
    stops after an instruction that has written to one. `hook` has a function called after instructions.
    """

    def __init__(self, machine: Preset | str | Path = "slim", host: Host | None = None, time: bool = True) -> None:
        """`machine`: a preset, the name of one, or the path of a .toml file. `time`: keep a clock, if the preset has rates."""
        super().__init__(machine if isinstance(machine, Preset) else load_preset(machine), host or Host())
        self.program: Program | None = None
        self.breakpoints: set[int] = set()
        self.watchpoints: list[tuple[int, int]] = []
        self._hooks: list[Observer] = []
        self._visits: Counter[tuple[int, int]] | None = None
        self._requests: dict[str, None] = {}                    # reasons to stop that no run has reported yet, the first first
        self.work: dict[str, Work] = {}                         # what the machine is doing: isa/engine/exclusive.py
        self.clocks = [Clock(self.preset)] if time and self.preset.rates else []
        self.row: Row | None = None                             # of the current instruction, with its operands' values
        self.operands: dict[str, int] = {}
        self._decoded: dict[int, tuple[Row, dict[str, int]] | None] = {}

    @property
    def counters(self) -> Counters:
        """Events by counter name."""
        return Counters((name, self.counter(name)) for name in COUNTERS)

    @property
    def time(self) -> Time | None:
        """How long the machine has taken so far; None without a clock.

        `clocks` are those that are kept: the first is the machine's own. Append one of another preset, before the first run, to see
        how long a machine with other rates would have taken.
        """
        return self.clocks[0].time(self.counts) if self.clocks else None

    @property
    def spent(self) -> int:
        """Instructions retired plus traps taken. Limits count both, so that a handler that traps itself comes to an end."""
        return self.counter("core.instructions") + self.counter("core.traps")

    def _repr_html_(self) -> str:
        program, time = self.program, self.time
        rows = [("program", (program.path or "from memory") if program else "none"),
                ("stands at", f"{self.pc:#x}" + (f" {program.symbol_at(self.pc)}" if program else "")),
                ("exit code", "none yet" if self.exit_code is None else str(self.exit_code)),
                *([("time", f"{time.cycles:,} cycles, {time.seconds:.4g} s")] if time else []),
                *((name, count) for name, count in self.counters.items() if count)]
        return as_html(("", ""), rows, f"{type(self).__name__} {self.preset.name}")

    def to_pandas(self) -> Any:
        """Its counters as a DataFrame, a row each: `counter`, `events`, `of`, `meaning`. Raises ImportError without pandas."""
        return self.counters.to_pandas()

    @exclusive()
    def load(self, program: Program | str | os.PathLike[str]) -> None:
        """Place a program, or that of a file, in memory; set pc to its entry and the stack pointer to the end of DRAM.

        Where the new program has a section, nothing of an earlier program is left. Registers, CSRs, the units' state and
        counters stay as they are: for a fresh start make a new machine. Raises OSError, and ProgramError for a file that is no
        program, or a program that does not fit this machine: units, memory; AlreadyRunning.
        """
        self._load(program)

    def _load(self, program: Program | str | os.PathLike[str]) -> None:
        if not isinstance(program, Program):
            program = Program.load(Path(program))
        program.check_machine(self.preset)
        own = {name: self._own_register(program, name) for name in ("tohost", "fromhost")}
        self.memory.load(program)
        self.program = program
        self.pc = program.entry
        self.exit_code = None
        dram = self.preset.region(DRAM)
        self.x[2] = dram.base + dram.size - _STACK_ROOM
        self.devices.place(**own)

    def _own_register(self, program: Program, name: str) -> int | None:
        """Where a program has a register of the host-target interface itself, None if it does not define the symbol."""
        symbol = program.symbol(name)
        if symbol is None:
            return None
        region = self.memory.region(symbol.value, 8)
        if region is None or not region.writable:
            raise ProgramError(f"the symbol {name} is {symbol.value:#x}, where machine {self.preset.name} has no 8 bytes to write",
                               hint=f"{name} is a register of the host-target interface: rename the symbol, "
                                    "or let it name a .dword in writable memory")
        return symbol.value

    def tensor(self, place: int | str, text: str) -> npt.NDArray[Any]:
        """The tensor that `text` names ("f32[4,16]") at an address or a symbol ("weights", "weights+64").

        A view of memory where NumPy has the type, a decoded copy for bf16, i4, t2 ... Raises TensorError (a ValueError) and,
        for a symbol that the program does not have, ProgramError.
        """
        return read_tensor(self, place if isinstance(place, int) else (self.program or Program()).address(place), text)

    @exclusive(within=True)
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot (isa/engine/snapshot.py) of the machine as it stands. Raises OSError, SnapshotError, AlreadyRunning."""
        from isa.engine.snapshot import write_snapshot
        write_snapshot(self, Path(path))

    @classmethod
    def restore(cls, path: str | os.PathLike[str], program: Program | None = None, machine: Preset | None = None,
                host: Host | None = None, **options: Any) -> Self:
        """A machine that goes on from a snapshot, whichever engine wrote it. `options` are those of the class: threads.

        By default it runs the program file that the snapshot names, on the preset that the snapshot holds. The tokens and the
        output of `host` are replaced by the snapshot's. Raises OSError, SnapshotError (another program, another machine, damage).
        """
        from isa.engine.snapshot import Snapshot
        snapshot = Snapshot(Path(path))
        program, preset = program or snapshot.program(), machine or snapshot.preset()
        snapshot.check(preset, program)
        restored = cls(preset, host, **options)
        restored.load(program)
        snapshot.apply(restored)
        return restored

    @exclusive(within=True)
    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled machine is a snapshot, its program, its host, its breakpoints, watchpoints and hooks. Raises SnapshotError."""
        from isa.engine.snapshot import packed, unpacked
        snapshot = packed(self)                                 # first: a prompt that cannot be pickled becomes a list there
        return (unpacked, (type(self), snapshot, self.program, self.preset, self.host, self._options()),
                {"breakpoints": self.breakpoints, "watchpoints": self.watchpoints, "_hooks": self._hooks,
                 "_visits": None if self._visits is None else self.visits})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A second machine that continues from here. Both share the program, which no run changes."""
        make, (kind, snapshot, program, preset, host, options), state = self.__reduce__()
        twin: Self = make(kind, snapshot, program, preset, copy.deepcopy(host, memo), options)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def _options(self) -> dict[str, Any]:
        """The arguments with which this machine was made, without the preset and the host."""
        return {"time": bool(self.clocks)}

    # ---------------------------------------------------------------------------------------------- observing

    @exclusive(within=True)
    def hook(self, function: Hook, where: Where | None = None, writes: Sequence[tuple[int, int]] = ()) -> None:
        """Call `function(machine, step)` after each instruction, or after those for which `where(pc, row)` is true.

        `where` may depend only on these and on the word at pc: the fast engine asks it once. With `writes`, only after
        instructions that have written to one of these ranges (address, bytes). On the fast engine all others run at full speed.
        A hook may call `stop`, `hook` and `unhook`, and change the machine as may be done between runs: registers, pc, CSRs,
        unit state and memory are from the next instruction on what it has made of them, on either engine. A hook that
        writes code must call `code_changed`. A hook cannot continue a run that a trap has ended.
        """
        self._hooks = [*self._hooks, Observer(function, where, tuple(writes))]

    @exclusive(within=True)
    def hook_before(self, function: Hook, places: Collection[int]) -> None:
        """Call `function(machine, step)` before each instruction at one of these addresses. Of `step` only pc and the counters are
        known yet. The function may look and `stop` a run, but change nothing. `unhook` takes it off.
        """
        self._hooks = [*self._hooks, Observer(function, lambda pc, row: pc in places, (), early=True)]

    @exclusive(within=True)
    def unhook(self, function: Hook) -> None:
        """Stop calling a function."""
        self._hooks = [observer for observer in self._hooks if observer.function != function]

    @exclusive()
    def profile(self) -> None:
        """From now on count how often each instruction is retired."""
        self._visits = self._visits or Counter()

    @property
    def visits(self) -> Counter[tuple[int, int]]:
        """How often each instruction was retired since `profile` was called, by (pc, word)."""
        return Counter(self._visits or {})

    def wrote(self, address: int, size: int) -> bool:
        """Did the instruction before pc write to one of these bytes? For use when a watchpoint has stopped a run."""
        return any(start < address + size and address < start + len(data) for start, _, data in self._writes)

    def stop(self, reason: str) -> None:
        """End the current run at the next instruction boundary, with this reason. If there is none, the next run ends at its start.

        May be called from any thread and from signal handlers. Requests hold until a run has reported them, each with its own
        reason, or until they are withdrawn. How soon a run ends: docs/python.md.
        """
        self._requests.setdefault(reason)                       # one step of the interpreter: no other thread can interrupt it
        self.wake()

    def withdraw(self, reason: str) -> bool:
        """Take a request back. Returns False if no such request was waiting to be reported."""
        return self._requests.pop(reason, self) is None

    def wake(self) -> None:
        """Make compiled code return to Python soon. May be called from any thread."""

    @exclusive(within=True)
    def code_changed(self, address: int, size: int) -> None:
        """To be called after each write to memory that is not by an instruction: an engine may have decoded what stood there."""

    # ---------------------------------------------------------------------------------------------- running

    @exclusive()
    def run(self, max_instructions: int | None = None, timeout: float | None = None) -> RunResult:
        """Execute until the program exits, a trap finds no handler, or something that RunResult names asks for a stop.

        Trapped instructions count towards the limit too, so a handler that itself traps comes to an end. `timeout` is in
        seconds of the host, from the call on. A program that has exited stays where it is. Raises AlreadyRunning, and ValueError
        for a limit that is no whole number from 0 on, or a time that is no number.
        """
        if max_instructions is not None:
            max_instructions = _whole(max_instructions)
        if timeout is not None and timeout != timeout:
            raise ValueError(f"timeout is {timeout}; expected seconds")
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        self._prepare()
        with watched(self, deadline), np.errstate(all="ignore"):
            return self._run(max_instructions)

    def _run(self, max_instructions: int | None) -> RunResult:
        start = self.spent
        while self.exit_code is None:
            left = None if max_instructions is None else max_instructions - (self.spent - start)
            for reason in list(self._requests):
                if self.withdraw(reason):
                    return self._ended(reason)
            if left == 0:
                return self._ended("limit")
            if self.pc in self.breakpoints and self.spent != start:
                return self._ended("breakpoint")
            if self._advance(left):
                continue
            report = self._step()
            if report is not None:
                return self._ended("trap", report)
            if self.exit_code is None and any(self.wrote(place, size) for place, size in self.watchpoints):
                return self._ended("watchpoint")
        return self._ended("exit")

    def _prepare(self) -> None:
        """Called when a run starts."""
        self._check_registers()
        self._changed()

    def _advance(self, left: int | None) -> bool:
        """Execute some instructions, at most `left`, in a faster way. False: `step` is to execute the next one."""
        return False

    def _ended(self, reason: str, trap: TrapReport | None = None) -> RunResult:
        return RunResult(reason, self.exit_code, self.counter("core.instructions"), trap)

    @exclusive()
    def step(self) -> TrapReport | None:
        """Execute one instruction. Returns a report when it traps and no handler is installed. Raises AlreadyRunning."""
        with np.errstate(all="ignore"):
            return self._step()

    def _step(self) -> TrapReport | None:
        pc, saved = self.pc, self.counts.copy()
        for function, where, _, early in self._hooks:
            if early and where is not None and where(pc, None):
                function(self, Step(pc, None, None, {}, {}, None, [], [], None, saved))
        self.begin()
        word: int | None = None
        self.row, self.fields, self.operands, self.written = None, {}, {}, None
        try:
            word = self._fetch()
            self._execute(word)
        except Trap as trap:
            self.counts[:] = saved
            self.begin()
            self.count("core.traps")
            if trap.cause is Cause.ILLEGAL_INSTRUCTION and word is not None:
                trap.value = word
            report = self._enter_trap(trap, word)
            self._observe(pc, word, trap.cause, saved)
            return report
        self.pc = self.next_pc & WORD
        is_xslim = self.row is not None and self.row.is_xslim
        if is_xslim:
            self._take_time(saved)
        self.count("core.instructions")
        self.commit()
        if not is_xslim:
            self._take_time(saved)
        if self._visits is not None:
            self._visits[pc, word] += 1
        self._observe(pc, word, None, saved)
        return None

    def _take_time(self, counted: npt.NDArray[np.uint64]) -> None:
        """Tell the clocks that an instruction has retired. `counted`: the counters before it."""
        for clock in self.clocks:
            clock.after(self, counted)

    def _observe(self, pc: int, word: int | None, trap: Cause | None, before: npt.NDArray[np.uint64]) -> None:
        """Call the hooks that want to know of the instruction at `pc`."""
        wanted = [function for function, where, writes, early in self._hooks if not early and (where is None or where(pc, self.row))
                  and (not writes or any(self.wrote(start, size) for start, size in writes))]
        if wanted:
            step = Step(pc, word, self.row, self.fields, self.operands, self.written, self._reads,
                        [(address, data) for address, _, data in self._writes], trap, before)
            x, at = self.x[:], self.pc
            for function in wanted:
                function(self, step)
            if self.pc is not at or len(self.x) != 32 or not all(map(is_, self.x, x)):          # most hooks only look
                self._check_registers()
            self._changed()

    def _changed(self) -> None:
        """Called when a run starts, and after hooks: the state may have been changed from outside."""

    def _check_registers(self) -> None:
        """Raises ValueError where pc and x are not what they can be."""
        self.x[:] = [index(value) for value in self.x]
        if len(self.x) != 32 or self.x[0] or not all(0 <= value <= WORD for value in (*self.x, self.pc)):
            raise ValueError(f"pc is {self.pc}, x is {self.x}; expected 32 registers, the first 0, and all of 0 to 2**64 - 1")

    def _fetch(self) -> int:
        if self.pc % 4:
            raise Trap(Cause.FETCH_MISALIGNED, self.pc)
        region = self.memory.region(self.pc, 4)
        if region is None or region.is_devices or not self.memory.holds(region, self.pc, 4):
            raise Trap(Cause.FETCH_ACCESS, self.pc, f"no executable memory at {self.pc:#x}" + ("" if self.pc else f"; {_NO_EXIT}"))
        return int(self.memory.look(region, self.pc, 4).view("<u4")[0])

    def _execute(self, word: int) -> None:
        if word not in self._decoded:
            self._decoded[word] = decode(word)
        found = self._decoded[word]
        if found is None:
            raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"{word:#010x} is not an instruction of this machine"
                                                           + ("" if word else f"; {_NO_EXIT}"))
        row, self.fields = found
        self.row = row
        self.next_pc = self.pc + 4
        self.unit = row.unit if row.is_xslim else "core"
        if row.is_xslim:
            if not self.preset.has_unit(row.unit):
                raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"machine {self.preset.name} has no {row.unit} unit")
            self.count(f"{row.unit}.ops")
        values: dict[str, Any] = {
            operand.name: self.x[self.fields[operand.name]] if operand.is_register else self.fields[operand.name]
            for operand in row.operands if operand is not row.result}
        check_operands(self, row, values)
        self.operands = values
        result = row.meaning(self, **values)
        if row.result is not None and result is not None and self.fields[row.result.name]:
            self.written = self.fields[row.result.name], int(result) & WORD
            self.x[self.written[0]] = self.written[1]

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
            shown = {name: csr_text(value) if name == "csr" else str(value) for name, value in fields.items()}
            shown |= {o.name: f"{ABI_NAMES[fields[o.name]]}={self.x[fields[o.name]]:#x}" for o in row.operands if o.is_register}
            text = f"{row.mnemonic} {', '.join(f'{o.name}={shown[o.name]}' for o in row.operands)}".strip()
        symbol = place = ""
        if self.program is not None:
            symbol, place = self.program.symbol_at(self.pc), self.program.line_at(self.pc)
        return TrapReport(trap.cause, trap.value & WORD, self.pc, word, text, symbol, place, trap.detail)
