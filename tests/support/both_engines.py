"""Both engines from the same start: what differs afterwards is a bug of the fast one.

One instruction, on a pair of machines that is used again and again:

    pair = Pair()                                           # or Pair("slim-llama"), Pair(flash=bytes(8192))
    x = pair.put(np.arange(8, dtype="<f4"))                 # in the scratchpad; place(address, array): anywhere
    done = pair.run("vec.relu.f32", dst=SRAM + 4096, x=x, n=8)
    done.trap, done.result, done.counts                     # of both engines: they were equal, or run() failed
    pair.run("vec.relu.f32", dst=x + 4, x=x, n=7, inline=False)

`run` starts both machines from zeroed counters and state, the CSRs that `set` has set, and the memory as `put` and `place`
have filled it. It compares registers, pc, CSRs, counters, unit state, memory, traps, output. By default the fast engine must
have done an instruction that did not trap by itself: no hand-over to the reference engine. `inline=False` allows one, for
operands that kernels may refuse. `fresh()` forgets what was placed and set. `execute` takes any word and all registers, and
says what differs.

Whole programs, each on new machines:

    done = run_program(program, max_instructions=1000)      # raises Difference

`SMALL` is the slim machine with so little memory that no length is a long one, and with three cores in its lut unit
and three small macros in its cim unit.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from machine_files import with_cores

from emulator.machine import Machine
from isa.counters import COUNTERS
from isa.csrs import BY_ADDRESS, CSRS
from isa.instruction import TABLE
from isa.preset import Preset, preset_of
from isa.program import Program, Section
from isa.reference import ReferenceMachine, RunResult, TrapReport
from isa.registers import ABI_NAMES
from isa.services import Host

MMIO, SRAM, DRAM, FLASH, HBM = 0x0200_0000, 0x1000_0000, 0x8000_0000, 0x10_0000_0000, 0x20_0000_0000
TEXT = DRAM                     # of a Pair: one page of code
WINDOW = 1 << 16                # bytes at each end of a region that a Pair compares and resets after every instruction
_SIZES = {"sram": 1 << 16, "dram": 1 << 17, "hbm": 1 << 16}
_BANKS = {"channels": 2, "bank_groups": 1, "banks": 4, "rows": 8, "columns": 32, "blocks": 2,
          "mapping": "row column:2 bank channel column:3"}
_MACROS = {"macros": 3, "rows": 16, "columns": 16, "adcs": 2}


def _small() -> Preset:
    data = with_cores(3).file.model_dump(exclude_none=True)
    for name, size in _SIZES.items():
        data["region"][name]["size"]["value"] = size
    for unit, parameters in (("pim", _BANKS), ("cim", _MACROS)):
        for name, value in parameters.items():
            data["unit"][unit]["parameters"][name]["value"] = value
    return preset_of(data)


SMALL = _small()
_PAGE = 4096
_WORD = (1 << 64) - 1


class Difference(AssertionError):
    """The engines disagree. `found` says in what."""

    def __init__(self, where: str, found: Sequence[str]) -> None:
        super().__init__(f"{where}: the fast engine differs from the reference in\n  " + "\n  ".join(found))
        self.found = list(found)


@dataclass(frozen=True)
class Done:
    """What one instruction did, on both engines: its result register, the counters that moved, its trap."""

    result: int | None
    counts: dict[str, int]
    trap: TrapReport | None
    handed_over: bool           # the fast engine left it to the reference engine


@dataclass(frozen=True)
class ProgramDone:
    """How a program ended on both engines: one RunResult for each piece of the run."""

    results: list[RunResult]
    reference: ReferenceMachine
    fast: Machine


# ---------------------------------------------------------------------------------------------------- comparing


def _integers(what: str, expected: Any, got: Any, name: Any) -> list[str]:
    expected, got = np.asarray(expected), np.asarray(got)
    return [f"{what} {name(int(i))}: {got[i]} instead of {expected[i]} ({int(got[i]):#x}, {int(expected[i]):#x})"
            for i in np.flatnonzero(expected != got)[:8]]


def _bytes(base: int, expected: np.ndarray, got: np.ndarray) -> list[str]:
    wrong = np.flatnonzero(expected != got)
    if not len(wrong):
        return []
    first = int(wrong[0]) & ~3
    return [f"memory: {len(wrong)} bytes from {base + int(wrong[0]):#x} on; there "
            f"{got[first:first + 16].tobytes().hex(' ', 4)} instead of {expected[first:first + 16].tobytes().hex(' ', 4)}"]


def machine_differences(reference: ReferenceMachine, fast: ReferenceMachine) -> list[str]:
    """Everything but memory in which two machines differ, as text."""
    slots = {counter.slot: name for name, counter in COUNTERS.items()}
    found = []
    if reference.pc != fast.pc:
        found.append(f"pc: {fast.pc:#x} instead of {reference.pc:#x}")
    if reference.x != fast.x:
        found += _integers("register", np.array(reference.x, np.uint64), np.array(fast.x, np.uint64), ABI_NAMES.__getitem__)
    if not np.array_equal(reference.counts, fast.counts):
        found += _integers("counter", reference.counts, fast.counts, lambda slot: slots.get(slot, f"slot {slot}"))
    if not np.array_equal(reference.csr_values, fast.csr_values):
        found += _integers("CSR", reference.csr_values, fast.csr_values,
                           lambda address: BY_ADDRESS[address].name if address in BY_ADDRESS else hex(address))
    for name, array in reference.state.items():
        if array.tobytes() != fast.state[name].tobytes():
            as_bits = f"u{array.dtype.itemsize}"
            found += _integers(f"state {name}", array.view(as_bits), fast.state[name].view(as_bits), lambda i: f"[{i}]")
    for expected_clock, got_clock in zip(reference.clocks, fast.clocks, strict=True):
        found += _integers("clock", expected_clock.words, got_clock.words, lambda i: f"word {i}")
    for what in ("exit_code", "devices"):
        expected, got = str(getattr(reference, what)), str(getattr(fast, what))
        if expected != got:
            found.append(f"{what}: {got} instead of {expected}")
    for what in ("output", "errors", "tokens"):
        if getattr(reference.host, what) != getattr(fast.host, what):
            found.append(f"{what}: {getattr(fast.host, what)!r} instead of {getattr(reference.host, what)!r}")
    return found


def _touched(contents: np.ndarray) -> np.ndarray:
    """Numbers of the pages of an anonymous mapping that have been touched: the operating system knows."""
    pages = np.zeros(-(-len(contents) // _PAGE), np.uint8)
    library = ctypes.CDLL(None, use_errno=True)
    if library.mincore(ctypes.c_void_p(contents.ctypes.data), ctypes.c_size_t(len(contents)), ctypes.c_void_p(pages.ctypes.data)):
        raise OSError(ctypes.get_errno(), "mincore")
    return np.flatnonzero(pages & 1)


def memory_differences(reference: ReferenceMachine, fast: ReferenceMachine) -> list[str]:
    """Differences in all memory that either machine has touched. Linux only; elsewhere the ends of each region."""
    found = []
    spans = zip(reference.memory.spans(), fast.memory.spans(), strict=True)
    for (region, base, expected), (_, _, got) in spans:
        if not region.writable:
            continue
        if sys.platform == "linux":
            pages = np.union1d(_touched(expected), _touched(got))
        else:
            last = len(expected) // _PAGE
            pages = np.array([*range(min(last, 256)), *range(max(0, last - 256), last)])
        for first, end in _runs(pages):
            start, stop = first * _PAGE, min(end * _PAGE, len(expected))
            found += _bytes(base + start, expected[start:stop], got[start:stop])
    return found[:8]


def _runs(numbers: np.ndarray) -> Iterable[tuple[int, int]]:
    """(first, end) of each run of consecutive numbers."""
    if not len(numbers):
        return
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for piece in np.split(numbers, breaks):
        yield int(piece[0]), int(piece[-1]) + 1


# ---------------------------------------------------------------------------------------------------- single instructions


class Pair:
    """A reference machine and a fast one that go through the same single instructions."""

    def __init__(self, machine: Preset | str = "slim", flash: bytes | dict[int, bytes] = b"", threads: int = 1) -> None:
        """`flash`: what is at its start, or sections by address."""
        sections = [Section(".text", "ax", TEXT, 4, [bytes(_PAGE)])]
        for address, held in (flash if isinstance(flash, dict) else {FLASH: flash}).items():
            if held:
                sections.append(Section(".weights", "a", address, 1, [held]))
        self.reference, self.fast = ReferenceMachine(machine), Machine(machine, threads=threads)
        for each in self.machines:
            each.load(Program(sections, [], [], TEXT))
        self._word = 0
        self._dirty: list[tuple[int, int]] = []             # (address, size) of what was placed
        # The ends of every writable region: (address, bytes of the reference, of the fast machine, as they should be).
        self._windows: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        spans = zip(self.reference.memory.spans(), self.fast.memory.spans(), strict=True)
        for (region, base, expected), (_, _, got) in spans:
            if region.writable:
                size = len(expected)
                for start in {0, max(0, size - WINDOW)}:
                    stop = min(size, start + WINDOW)
                    self._windows.append((base + start, expected[start:stop], got[start:stop], expected[start:stop].copy()))
        self.start_counts = np.zeros_like(self.reference.counts)       # counters at the start of each instruction
        self.start_state: dict[str, np.ndarray] = {}                   # unit state at the start, zeros for what is not here
        self.csrs: dict[str, int] = {}
        self.runs = self.traps = self.hand_overs = 0                   # so far
        self.fresh()

    @property
    def machines(self) -> tuple[ReferenceMachine, Machine]:
        return self.reference, self.fast

    # ------------------------------------------------------------------------------------------ the start

    def fresh(self) -> None:
        """Forget data, CSRs, counters and unit state."""
        for _, expected, got, start in self._windows:
            start[:] = 0
            expected[:] = 0
            got[:] = 0
        for address, size in self._dirty:
            for each in self.machines:
                each.peek(address, size)[:] = 0
        self._dirty, self._word = [], 0
        self.free = SRAM
        self.csrs, self.start_state = {}, {}
        self.start_counts[:] = 0

    def put(self, array: Any, gap: int = 0) -> int:
        """Place an array in the scratchpad, 16-byte aligned and `gap` bytes past that; returns its address."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        address = self.free + gap
        self.place(address, data)
        self.free = (address + len(data) + 31) & ~15
        return address

    def place(self, address: int, array: Any) -> None:
        """Put an array's bytes at an address of writable memory."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if not len(data):
            return
        for each in self.machines:
            each.peek(address, len(data))[:] = data
        inside = False
        for base, _, _, start in self._windows:
            first, last = max(address, base), min(address + len(data), base + len(start))
            if first < last:
                start[first - base:last - base] = data[first - address:last - address]
                inside = inside or (base <= address and address + len(data) <= base + len(start))
        if not inside:
            self._dirty.append((address, len(data)))

    def set(self, **csrs: int) -> None:
        """CSRs from now on: `lut__mode=1` is lut.mode."""
        self.csrs |= {name.replace("__", "."): value & _WORD for name, value in csrs.items()}

    def get(self, address: int, dtype: str, count: int) -> np.ndarray:
        """A copy of what the last instruction left at an address."""
        return self.fast.peek(address, count * np.dtype(dtype).itemsize).copy().view(dtype)

    # ------------------------------------------------------------------------------------------ one instruction

    def run(self, mnemonic: str, *, inline: bool = True, registers: dict[str, int] | None = None, everywhere: bool = False,
            **operands: int) -> Done:
        """Execute one instruction with these operand values on both engines. Raises Difference.

        `registers` gives register numbers by operand name, where they are not to be a0, a1, ... `inline`: the fast engine
        may hand it over only if it traps. `everywhere` compares all memory, not the ends of the regions (slow: 20 ms).
        """
        row = TABLE[mnemonic]
        numbers = {operand.name: 10 + i for i, operand in enumerate(row.operands)} | (registers or {})
        x = [0x5EED_0000_0000_0000 + i if i else 0 for i in range(32)]
        for name, value in operands.items():
            if numbers[name]:
                x[numbers[name]] = int(value) & _WORD
        report, found = self.execute(row.encode(numbers), x, everywhere=everywhere)
        handed_over = self.fast.handed_over.get(mnemonic, 0) > 0
        if inline and handed_over and report is None:
            found.append("being left to the reference engine")
        if found:
            values = ", ".join(f"{name}={value:#x}" for name, value in operands.items())
            raise Difference(f"{mnemonic} {values} with {self.csrs}", found)
        self.runs += 1
        self.traps += report is not None
        self.hand_overs += handed_over and report is None
        counts = (self.reference.counts - self.start_counts).tolist()
        return Done(self.reference.x[numbers[row.result.name]] if row.result else None,
                    {name: counts[counter.slot] for name, counter in COUNTERS.items() if counts[counter.slot]}, report, handed_over)

    def execute(self, word: int, x: list[int], *, everywhere: bool = False) -> tuple[TrapReport | None, list[str]]:
        """Execute one word with these 32 registers on both engines: the trap that no handler took, and what differs, as text."""
        self._restore()
        self._place_code(word)
        for each in self.machines:
            self._reset(each, x)
        expected, result = self.reference.run(max_instructions=1), self.fast.run(max_instructions=1)
        found = [] if result == expected else [f"result: {result} instead of {expected}"]
        found += machine_differences(self.reference, self.fast)
        for base, after, got, _ in self._windows:
            if not np.array_equal(after, got):
                found += _bytes(base, after, got)
        for address, size in self._dirty:
            found += _bytes(address, self.reference.peek(address, size), self.fast.peek(address, size))
        if everywhere and not found:
            found += memory_differences(self.reference, self.fast)
        if self.fast.peek(TEXT, 4).view("<u4")[0] != self._word:        # the instruction has overwritten itself
            self._word = -1
        return expected.trap, found

    def changes(self) -> dict[int, int]:
        """Bytes at the ends of the regions that are other ones than `put` and `place` have put there, by address: what the last
        instruction has written, and the instruction itself."""
        return {base + int(at): int(after[at]) for base, after, _, start in self._windows for at in np.flatnonzero(after != start)}

    def _restore(self) -> None:
        for _, expected, got, start in self._windows:
            expected[:] = start
            got[:] = start

    def _place_code(self, word: int) -> None:
        for each in self.machines:
            each.peek(TEXT, 4).view("<u4")[0] = word
        if word != self._word:
            self.fast.code_changed(TEXT, 4)
            self._word = word

    def _reset(self, each: ReferenceMachine, x: list[int]) -> None:
        each.x[:] = x
        each.pc = TEXT
        each.counts[:] = self.start_counts
        each.csr_values[:] = 0
        for csr in CSRS.values():
            each.csr_values[csr.address] = csr.reset
        for name, value in self.csrs.items():
            each.set_csr(name, value)
        for name, array in each.state.items():
            given = self.start_state.get(name, array[:0])
            array[:len(given)] = given
            array[len(given):] = 0
        each.host = Host()
        each.exit_code = None
        for clock in each.clocks:
            clock.start(each.counts)
        if isinstance(each, Machine):
            each.handed_over.clear()


# ---------------------------------------------------------------------------------------------------- whole programs


def run_program(program: Program, *, machine: Preset | str | None = None, prompt: Sequence[int] = (),
                max_instructions: int | Sequence[int] = 1_000_000, inline: Sequence[str] = (),
                registers: Sequence[int] = (), csrs: dict[str, int] | None = None) -> ProgramDone:
    """Run a program on both engines and compare everything at its end. Raises Difference.

    With several limits the run stops at each, is compared, and goes on. `inline` names instructions that the fast engine
    must have done by itself ("*": all Xslim instructions). `registers` and `csrs` are there at the start.
    """
    name = machine or program.machine
    reference, fast = ReferenceMachine(name, Host(prompt)), Machine(name, Host(prompt))
    reference.load(program)
    fast.load(program)
    for each in (reference, fast):
        each.x[:len(registers)] = registers
        for csr, value in (csrs or {}).items():
            each.set_csr(csr, value)
    results: list[RunResult] = []
    for limit in [max_instructions] if isinstance(max_instructions, int) else max_instructions:
        expected, got = reference.run(limit), fast.run(limit)
        found = [] if expected == got else [f"result: {got} instead of {expected}"]
        found += machine_differences(reference, fast) + memory_differences(reference, fast)
        if found:
            raise Difference(f"after {expected.instructions} instructions", found)
        results.append(expected)
        if expected.reason != "limit":
            break
    handed = [name for name in fast.handed_over if name in inline or ("*" in inline and name in TABLE and TABLE[name].is_xslim)]
    if handed:
        raise Difference("at the end", [f"{name}: {fast.handed_over[name]} times left to the reference engine" for name in handed])
    return ProgramDone(results, reference, fast)
