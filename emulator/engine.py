"""The fast engine: the compiled loop, with the reference engine for everything that is not plain.

Both work on the same state. The loop (emulator/loop.py) runs until it stands in front of an instruction that it leaves alone: a
service, a standard CSR, a store to a device or to code, an operation that its kernel punts on, anything that traps. That one
instruction is executed by the reference engine, through its meaning; then the loop goes on. So traps, services and devices are
written once, in isa, and the engines cannot disagree about them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emulator import context, kernels
from emulator.context import COUNTED_ENTRIES, COUNTED_WORDS, SPAN_WORDS, STATE_INDEX, WORDS
from emulator.decode import KERNEL_NAMES, NO_REGISTER, NUMBER, OPERATION, VALUE, Code, decode_words
from emulator.threads import pool_of
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.instruction import find
from isa.preset import Preset, Region
from isa.program import Program
from isa.reference import ReferenceMachine, RunResult, TrapReport
from isa.services import Host
from isa.traps import Trap

SLICE = 20_000_000          # instructions between two looks at the keyboard
_PAGE = 4096                # code outside the program's own sections is decoded in pieces of this size
_MOST_GAP = 1 << 20         # executable sections that are nearer than this are decoded as one piece


class Machine(ReferenceMachine):
    """A Slim machine on compiled kernels. The same state, methods and results as ReferenceMachine.

    `handed_over` counts the instructions that the reference engine executed, by mnemonic.
    """

    def __init__(self, machine: Preset | str = "slim", host: Host | None = None, threads: int = 1) -> None:
        """`threads`: how many work on a large operation, 1 to the cores of the host. Results and counters do not depend on it."""
        super().__init__(machine, host)
        from emulator import units  # noqa: F401 - registers the kernels
        self._registers = np.zeros(NO_REGISTER + 1, np.int64)
        self._kernels = np.zeros(len(KERNEL_NAMES), np.int64)
        self._csr_mask = np.zeros(4096, np.uint64)
        for csr in CSRS.values():
            self._csr_mask[csr.address] = csr.writable
        self._block = np.zeros(WORDS, np.int64)
        self._pool = pool_of(threads)
        self._block[context.POOL] = self._pool.address if self._pool else 0
        self._counted = np.zeros(COUNTED_ENTRIES * COUNTED_WORDS, np.int64)
        self._block[context.COUNTED_TABLE] = self._counted.ctypes.data
        self._spans = np.zeros((0, SPAN_WORDS), np.int64)
        self._code: list[tuple[int, Code]] = []             # (address of the first instruction, decoded)
        self._ranges: list[tuple[int, int]] = []            # (start, end) of what is decoded; elsewhere a piece holds OTHER
        self._range_table = np.zeros((0, 2), np.int64)      # the same for the loop: (start, bytes)
        self.handed_over: dict[str, int] = {}

    def load(self, program: Program) -> None:
        super().load(program)
        self._describe_memory()
        self._code, self._ranges = [], []
        executable = sorted((s.address, s.end) for s in program.sections if "a" in s.flags and "x" in s.flags and s.size)
        pieces: list[list[tuple[int, int]]] = []
        for start, end in executable:
            if pieces and start - pieces[-1][-1][1] < _MOST_GAP and self._span(start) == self._span(pieces[-1][0][0]):
                pieces[-1].append((start, end))
            else:
                pieces.append([(start, end)])
        for piece in pieces:
            self._decode(piece)

    def _describe_memory(self) -> None:
        """Fill the context block and the table of spans: DRAM first, then the other regions, flash by its sections."""
        def span(region: Region, base: int, view: np.ndarray) -> list[int]:
            ports = sum(1 << bit for name, bit in context.PORT.items() if name in region.ports)
            counters = (COUNTERS.get(f"{region.name}.bytes_{verb}") for verb in ("read", "written"))
            read, write = (counter.slot if counter else context.SINK for counter in counters)
            return [base, len(view), view.ctypes.data, int(region.writable and region.name != "mmio"), ports, read, write,
                    int(not region.writable)]

        rows = [span(region, base, view) for region, base, view in self.memory.spans()]
        dram = self.machine.region("dram").base
        rows.sort(key=lambda row: row[0] != dram)
        self._spans = np.array(rows, np.int64).reshape(-1, SPAN_WORDS)
        self._block[context.SPANS] = self._spans.ctypes.data
        self._block[context.SPAN_COUNT] = len(self._spans)
        self._block[context.PAGE_BYTES] = self.page_bytes
        self._counted[:] = 0

    def _describe_state(self) -> None:
        """Fill in what may have been replaced between two runs."""
        block = self._block
        block[context.COUNTS] = self.counts.ctypes.data
        block[context.CSR_FILE] = self.csr_values.ctypes.data
        block[context.TOHOST] = self.tohost
        for name, index in STATE_INDEX.items():
            if name in self.state:
                block[index], block[index + 1] = self.state[name].ctypes.data, len(self.state[name])

    # ---------------------------------------------------------------------------------------------- code

    def _span(self, address: int) -> tuple[int, int] | None:
        """(start, end) of the memory around the instruction at `address`, None where nothing can be executed."""
        for region, base, view in self.memory.spans():
            if region.name != "mmio" and base <= address and address + 4 <= base + len(view):
                return base, base + len(view)
        return None

    def _words(self, start: int, end: int) -> npt.NDArray[np.uint32]:
        region = self.memory.region(start, end - start)
        assert region is not None
        return self.memory.view(region, start, end - start).view("<u4")

    def _decode(self, ranges: list[tuple[int, int]]) -> None:
        """Decode the instructions of some ranges as one piece, and compile the kernels that they need.

        What lies between the ranges stays OTHER: so data there can be stored to without a look at the instructions.
        """
        span = self._span(-(-ranges[0][0] // 4) * 4)
        if span is None:
            return
        first, last = -(-span[0] // 4) * 4, span[1] // 4 * 4
        ranges = [(max(start // 4 * 4, first), min(-(-end // 4) * 4, last)) for start, end in ranges]
        base = ranges[0][0]
        code = np.zeros(((ranges[-1][1] - base) // 4, 8), np.int32)
        for start, end in ranges:
            code[(start - base) // 4:(end - base) // 4] = decode_words(self._words(start, end), self.machine.units)
        self._compile(code)
        self._code.append((base, code))
        self._ranges += ranges
        self._range_table = np.array([(start, end - start) for start, end in self._ranges], np.int64)
        low = min(start for start, _ in self._ranges)
        self._block[context.CODE_START] = low
        self._block[context.CODE_BYTES] = max(end for _, end in self._ranges) - low
        self._block[context.CODE_RANGES] = self._range_table.ctypes.data
        self._block[context.CODE_RANGE_COUNT] = len(self._range_table)

    def _compile(self, code: Code) -> None:
        """Have the kernels ready that some decoded instructions need."""
        operations = code[:, OPERATION]
        of_kernel = (operations == NUMBER["KERNEL"]) | (operations == NUMBER["KERNEL_RESULT"])
        for number in set(code[of_kernel, VALUE].tolist()):
            if not self._kernels[number]:
                self._kernels[number] = kernels.address(KERNEL_NAMES[number])

    def _piece(self, pc: int) -> tuple[int, Code] | None:
        """The decoded code around `pc`, None when there is no executable memory."""
        if pc % 4:
            return None
        for base, code in self._code:
            if base <= pc < base + 4 * len(code):
                return base, code
        span = self._span(pc)
        if span is None:
            return None
        self._decode([(max(pc & -_PAGE, span[0]), min((pc & -_PAGE) + _PAGE, span[1]))])
        return self._code[-1]

    def code_changed(self, address: int, size: int) -> None:
        """Decode again what has been stored to code. To be called by whoever writes to memory from outside."""
        for start, end in self._ranges:
            first, last = max(address & ~3, start), min(address + size + 3 & ~3, end)
            if first < last:
                again = decode_words(self._words(first, last), self.machine.units)
                self._compile(again)
                for base, code in self._code:
                    low, high = max(first, base), min(last, base + 4 * len(code))
                    if low < high:
                        code[(low - base) // 4:(high - base) // 4] = again[(low - first) // 4:(high - first) // 4]

    # ---------------------------------------------------------------------------------------------- running

    def run(self, max_instructions: int | None = None) -> RunResult:
        kernels.notify("the engine")
        kernels.use_cache_of("emulator.loop")
        from emulator.loop import execute
        kernels.notify("")
        self._describe_state()
        start = self.spent
        x = self._registers
        while self.exit_code is None:
            left = SLICE if max_instructions is None else start + max_instructions - self.spent
            if left <= 0:
                return RunResult("limit", 0, self.counter("core.instructions"))
            piece = self._piece(self.pc)
            if piece is not None:
                base, code = piece
                limit = min(left, SLICE)
                x[:32] = np.array(self.x, np.uint64).view(np.int64)
                done, pc = execute(code, base, self.pc, x, self._csr_mask, self._kernels, self._block.ctypes.data, limit)
                self.x, self.pc = x[:32].view(np.uint64).tolist(), pc % (1 << 64)
                if done == limit or not base <= self.pc < base + 4 * len(code):
                    continue                    # perhaps in another piece; where there is no code, the fetch will trap
            report = self._hand_over()
            if report is not None:
                return RunResult("trap", 0, self.counter("core.instructions"), report)
        return RunResult("exit", self.exit_code, self.counter("core.instructions"))

    def _hand_over(self) -> TrapReport | None:
        """Have the reference engine execute one instruction."""
        try:
            row = find(self._fetch())
        except Trap:
            row = None
        name = row.mnemonic if row else "(none)"
        self.handed_over[name] = self.handed_over.get(name, 0) + 1
        report = self.step()
        for address, destination, _ in self._writes:
            self.code_changed(address, len(destination))
            if address <= self.tohost < address + len(destination):         # a device that answers in memory
                self.code_changed(self.tohost, 8)
                self.code_changed(self.fromhost, 8)
        return report
