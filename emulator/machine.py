"""The fast engine: the compiled loop, with the reference engine for everything that is not plain.

Both work on the same state. The loop (emulator/loop.py) runs until it stands in front of an instruction that it leaves alone: a
service, a standard CSR, a store to a device or to code, an operation that its kernel punts on, anything that traps. That one
instruction is executed by the reference engine, through its meaning; then the loop goes on. So traps, services and devices are
written once, in isa, and the engines cannot disagree about them.

Observers cost nothing where they do not look. Instructions that a hook wants to see, and those with a breakpoint, are patched to
be such instructions that the loop leaves alone; writes to a watchpoint are refused by the loop as those to code are.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from ctypes import CFUNCTYPE, c_int64
from dataclasses import dataclass
from operator import is_
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from emulator import load_kernels
from emulator.compile_ahead import compile_ahead
from emulator.decode import KERNEL_NAMES, NUMBER, OPERATION, VALUE, DecodedCode, decode_words
from emulator.native import block
from emulator.native.block import NOTES, NOTES_AT, PC, SPAN_WORDS, STATE_INDEX, WORDS, organisation_table
from emulator.threads.workers import pool_of
from isa.counters import COUNTERS, SLOTS
from isa.csrs import CSRS
from isa.engine import pages
from isa.engine.exclusive import exclusive
from isa.instruction import find
from isa.preset import Preset
from isa.program import Program
from isa.reference import Hook, ReferenceMachine, TrapReport, Where
from isa.regions import DRAM, Region
from isa.services import Host
from isa.timing import clock_rules

SLICE = 20_000_000          # instructions between two looks at requests to stop: about 0.1 s; kernels look before each operation
_REGISTERS = Struct("<34Q")
_LOOP = CFUNCTYPE(*[c_int64] * 4)
_KERNEL = CFUNCTYPE(*[c_int64] * 6)
_EMITTED = COUNTERS["tokens.emitted"].slot
_PAGE = 4096                # code outside the program's own sections is decoded in pieces of this size
_MOST_GAP = 1 << 20         # bytes; executable sections with smaller gaps are decoded as one piece
_MOST_CODE = 1 << 22        # bytes; a larger section is probably data: only the pages that are executed are decoded


@dataclass
class Piece:
    """Decoded instructions: `words[i]` at address base + 4 * i."""

    base: int
    words: npt.NDArray[np.uint32]           # (n,) as they were when they were decoded
    code: DecodedCode                       # (n, 8) what the loop reads
    operations: npt.NDArray[np.int32]       # (n,) the OPERATION column before it was patched
    visits: npt.NDArray[np.int64]           # (n,) how often each was retired, since they were added up

    def __post_init__(self) -> None:
        description = [self.code.ctypes.data, len(self.code), self.base, self.visits.ctypes.data]
        self.description = np.array(description, np.uint64)         # what the loop gets: emulator/native/block.py
        self.address = self.description.ctypes.data

    @property
    def end(self) -> int:
        return self.base + 4 * len(self.code)


class Machine(ReferenceMachine):
    """A Slim machine on compiled kernels. The same state, methods and results as ReferenceMachine.

    `handed_over` counts the instructions that the reference engine executed, by mnemonic.
    """

    def __init__(self, machine: Preset | str | Path = "slim", host: Host | None = None, threads: int = 1,
                 time: bool = True) -> None:
        """`threads`: how many work on a large operation, 1 to the cores of the host. Results, counters and time do not depend on
        it. `time`: keep a clock, if the preset has rates."""
        super().__init__(machine, host, time)
        self.threads = threads
        self._registers = np.zeros(PC + 1, np.int64)
        self._kernels = np.zeros(len(KERNEL_NAMES), np.int64)
        self._earlier = np.zeros(SLOTS, np.int64)               # counters before an operation, for the clock
        self._csr_mask = np.zeros(4096, np.uint64)
        for csr in CSRS.values():
            self._csr_mask[csr.address] = csr.writable
        self._block = np.zeros(WORDS, np.int64)
        self._address = self._block.ctypes.data
        for word, array in ((block.REGISTERS, self._registers), (block.KERNEL_TABLE, self._kernels),
                            (block.CSR_MASKS, self._csr_mask)):
            self._block[word] = array.ctypes.data
        self._pool = pool_of(threads)
        self._block[block.POOL] = self._pool.address if self._pool else 0
        counted = pages.zeros(8 * (NOTES_AT + 1 + NOTES))           # memory that is not used costs nothing, for each machine anew
        pages.sparse(counted)
        self._counted = counted.view(np.int64)
        self._block[block.COUNTED_TABLE] = self._counted.ctypes.data
        self._block[block.LUT_CORES] = self.parameter("lut.cores") if self.preset.has_unit("lut") else 1
        if self.preset.has_unit("cim"):
            self._macros = block.macros_table(self.preset)
            self._block[block.MACROS] = self._macros.ctypes.data
        if self.preset.banks:
            self._banks = organisation_table(self.preset.banks)
            self._block[block.BANKS] = self._banks.ctypes.data
        self._spans = np.zeros((0, SPAN_WORDS), np.int64)
        self._constants: tuple[tuple[int, int], ...] = ()   # of the memory, as the spans have them
        self._pieces: list[Piece] = []                      # by rising base, and the bytes of the longest
        self._longest = 0
        self._ranges: list[tuple[int, int, Piece]] = []     # (start, end) of what is decoded; elsewhere a piece holds OTHER
        self._bounds = np.zeros((0, 2), np.uint64)          # (start, end - 1) of these
        self._guards = np.zeros((0, 2), np.int64)           # for the loop: (start, bytes) of these and of the watchpoints
        self._guarded = 0, 0                                # from the first to the end of the last
        self._described: list[Any] = []                     # the arrays whose addresses the loop has, the counters first
        self._timed: list[Any] = []                         # the same of the clocks
        self._token: Any = None                             # compiled: a token has been emitted; None: there is no such code
        self._token_arguments = tuple(map(c_int64, (0, 0, 0, 0, self._address)))
        self._patched: Any = ()                             # what the code is patched for
        self._everywhere = False                            # some hook wants to see every instruction
        self.handed_over: dict[str, int] = {}

    def _options(self) -> dict[str, Any]:
        return super()._options() | {"threads": self.threads}

    def _load(self, program: Program | str | os.PathLike[str]) -> None:
        super()._load(program)
        assert self.program is not None
        self._describe_memory()
        self._pieces, self._ranges, self._longest = [], [], 0
        executable = sorted((s.address, s.end) for s in self.program.sections
                            if "a" in s.flags and "x" in s.flags and 0 < s.size <= _MOST_CODE)
        pieces: list[list[tuple[int, int]]] = []
        for start, end in executable:
            if pieces and start - pieces[-1][-1][1] < _MOST_GAP and self._span(start) == self._span(pieces[-1][0][0]):
                pieces[-1].append((start, end))
            else:
                pieces.append([(start, end)])
        for piece in pieces:
            self._decode(piece)
        self._look_on()

    def _describe_memory(self) -> None:
        """Fill the context block and the table of spans: DRAM first, then the other regions, flash by its sections, constants.

        Devices have none: the reference engine meets them.
        """
        def span(region: Region, base: int, view: np.ndarray) -> list[int]:
            ports = sum(1 << bit for name, bit in block.PORT.items() if name in region.ports)
            counters = (COUNTERS.get(f"{region.name}.bytes_{verb}") for verb in ("read", "written"))
            read, write = (counter.slot if counter else block.SINK for counter in counters)
            return [base, len(view), view.ctypes.data, int(region.writable), ports, read, write, int(not region.writable)]

        rows = [span(region, base, view) for region, base, view in self.memory.spans() if not region.is_devices]
        dram = self.preset.region(DRAM).base
        rows.sort(key=lambda row: row[0] != dram)
        self._constants = self.memory.constants             # behind the spans that operands are found in: no unit has a port there
        for start, end in self._constants:
            region = self.memory.region(start, end - start)
            assert region is not None
            host = self.memory.look(region, start, end - start).ctypes.data
            rows.append([start, end - start, host, 0, 0, block.SINK, block.SINK, 1])
        self._spans = np.array(rows, np.int64).reshape(-1, SPAN_WORDS)
        self._block[block.SPANS] = self._spans.ctypes.data
        self._block[block.SPAN_COUNT] = len(self._spans)
        self._block[block.PAGE_BYTES] = self.page_bytes
        self._counted[:NOTES_AT + 1] = 0

    def _describe_state(self) -> None:
        """Fill in what may have been replaced between two runs, or by a hook."""
        self._block[block.TOHOST] = self.devices.tohost
        self._describe_clocks()
        arrays = [self.counts, self.csr_values, *self.state.values()]
        if len(arrays) == len(self._described) and all(map(is_, arrays, self._described)):
            return
        self._described = arrays
        self._block[block.COUNTS] = self.counts.ctypes.data
        self._block[block.CSR_FILE] = self.csr_values.ctypes.data
        for name, index in STATE_INDEX.items():
            if name in self.state:
                self._block[index], self._block[index + 1] = self.state[name].ctypes.data, len(self.state[name])

    def _clock_entries(self, kernels: Iterable[str]) -> tuple[str, ...]:
        """Names of the entries of the compiled clock that a program with these instructions calls: after each, and for a token."""
        if not self.clocks:
            return ()
        banks, named, attention = (any(each.figures[place] for each in self.clocks)
                                   for place in (clock_rules.BANKS, clock_rules.NAMED, clock_rules.ATTENTION))
        return load_kernels.clock_of(kernels, banks=banks, named=named, attention=attention)

    def _take_time(self, counted: npt.NDArray[np.uint64]) -> None:
        """As the reference engine has it. A token is too frequent for rules that are not compiled."""
        if self.row is not None and self.row.is_xslim:
            super()._take_time(counted)
        elif self.clocks and self.counts[_EMITTED] != counted[_EMITTED]:
            if self._token and self._is_described():
                self._token(*self._token_arguments)
            else:
                super()._take_time(counted)

    def _is_described(self) -> bool:
        """Whether the counters and the clocks are still those whose addresses compiled code has."""
        if not self._described or self._described[0] is not self.counts or len(self._timed) != len(self.clocks):
            return False
        return all(map(is_, [each.words for each in self.clocks], self._timed))

    def _describe_clocks(self) -> None:
        kernels = [KERNEL_NAMES[number] for number in np.flatnonzero(self._kernels).tolist()]
        entries = self._clock_entries(kernels) if kernels else ()
        after, token = map(load_kernels.clock, entries) if entries else (0, 0)
        self._token = _KERNEL(token) if token else None
        self._block[block.EARLIER], self._block[block.CLOCK_AFTER] = self._earlier.ctypes.data, after
        self._timed = [each.words for each in self.clocks]
        self._clocks = np.array([[each.words.ctypes.data, each.figures.ctypes.data] for each in self.clocks], np.int64)
        self._block[block.CLOCKS], self._block[block.CLOCK_COUNT] = self._clocks.ctypes.data, len(self.clocks)

    # ---------------------------------------------------------------------------------------------- code

    def _span(self, address: int) -> tuple[int, int] | None:
        """(start, end) of the memory around the instruction at `address`, None where nothing can be executed."""
        for region, base, view in self.memory.spans():
            if not region.is_devices and base <= address and address + 4 <= base + len(view):
                return base, base + len(view)
        return None

    def _words(self, start: int, end: int) -> npt.NDArray[np.uint32]:
        region = self.memory.region(start, end - start)
        assert region is not None
        return self.memory.look(region, start, end - start).view("<u4")

    def _decode(self, ranges: list[tuple[int, int]]) -> Piece | None:
        """Decode the instructions of some ranges as one piece, and compile the kernels that they need. To be patched.

        What lies between the ranges stays OTHER: so data there can be stored to without a look at the instructions.
        """
        span = self._span(-(-ranges[0][0] // 4) * 4)
        if span is None:
            return None
        first, last = -(-span[0] // 4) * 4, span[1] // 4 * 4
        ranges = [(max(start // 4 * 4, first), min(-(-end // 4) * 4, last)) for start, end in ranges]
        base = ranges[0][0]
        length = (ranges[-1][1] - base) // 4
        piece = Piece(base, np.zeros(length, np.uint32), np.zeros((length, 8), np.int32), np.zeros(length, np.int32),
                      np.zeros(length, np.int64))
        for start, end in ranges:
            self._fill(piece, start, end)
        insort(self._pieces, piece, key=lambda piece: piece.base)
        self._longest = max(self._longest, piece.end - piece.base)
        self._ranges += [(start, end, piece) for start, end in ranges]
        return piece

    def _patch(self, parts: Iterable[tuple[int, int, Piece]]) -> None:
        """Make the loop stop in front of instructions with a breakpoint or a hook. A part: from `start` to `end` in a piece."""
        anywhere = any(where is None and not writes for _, where, writes, _ in self._hooks)
        conditions = [where for _, where, writes, _ in self._hooks if where is not None and not writes]
        breakpoints = sorted(self.breakpoints)
        for start, end, piece in parts:
            first, last = (start - piece.base) // 4, (end - piece.base) // 4
            piece.code[first:last, OPERATION] = NUMBER["OTHER"] if anywhere else piece.operations[first:last]
            if conditions and not anywhere:
                for i in (first + np.flatnonzero(piece.operations[first:last])).tolist():
                    row = find(int(piece.words[i]))
                    if any(where(piece.base + 4 * i, row) for where in conditions):
                        piece.code[i, OPERATION] = NUMBER["OTHER"]
            for pc in breakpoints[bisect_left(breakpoints, start):bisect_left(breakpoints, end)]:
                piece.code[(pc - piece.base) // 4, OPERATION] = NUMBER["OTHER"]

    def _look_on(self) -> None:
        """Patch all code for the present breakpoints, watchpoints and hooks."""
        self._patch((piece.base, piece.end, piece) for piece in self._pieces)
        self._guard()
        self._patched = set(self.breakpoints), list(self.watchpoints), self._hooks
        self._everywhere = any(where is None and not writes for _, where, writes, _ in self._hooks)

    def _guard(self) -> None:
        """Make the loop stop in front of writes to code, to constants and to what is watched."""
        watched = [*self.watchpoints, *(place for _, _, writes, _ in self._hooks for place in writes),
                   *((start, end - start) for start, end in self._constants)]
        top = max(region.end for region in self.preset.regions)             # beyond it nothing is ever written
        self._bounds, self._guards = np.zeros((0, 2), np.uint64), np.zeros((0, 2), np.int64)
        self._guard_also([(start, min(size, top - start)) for start, size in watched if start < top], self._ranges)

    def _guard_also(self, watched: list[tuple[int, int]], ranges: list[tuple[int, int, Piece]]) -> None:
        """Guard more: (address, bytes), and decoded code, the last of `_ranges`."""
        bounds = np.array([(start, end - 1) for start, end, _ in ranges], np.uint64).reshape(-1, 2)
        self._bounds = np.concatenate((self._bounds, bounds))
        guards = [*watched, *((start, end - start) for start, end, _ in ranges)]
        self._guards = np.concatenate((self._guards, np.array(guards, np.uint64).view(np.int64).reshape(-1, 2)))
        starts, sizes = self._guards.view(np.uint64).T
        low = int(starts.min()) if len(starts) else 0
        high = int((starts + sizes).max()) if len(starts) else 0
        self._guarded = low, high
        self._block[block.GUARD_START], self._block[block.GUARD_BYTES] = low, high - low
        self._block[block.GUARDS] = self._guards.ctypes.data
        self._block[block.GUARD_COUNT] = len(self._guards)

    def _fill(self, piece: Piece, start: int, end: int) -> None:
        """Decode what stands in memory from `start` to `end`, a part of the piece."""
        part = slice((start - piece.base) // 4, (end - piece.base) // 4)
        words = self._words(start, end).copy()
        code = decode_words(words, self.preset.units)
        self._compile(code)                     # takes long: Ctrl-C there must leave no words behind as if they were decoded
        self._patched = ()
        piece.code[part], piece.operations[part], piece.words[part] = code, code[:, OPERATION], words

    def _compile(self, code: DecodedCode) -> None:
        """Have the kernels ready that some decoded instructions need."""
        operations = code[:, OPERATION]
        of_kernel = (operations == NUMBER["KERNEL"]) | (operations == NUMBER["KERNEL_RESULT"])
        wanted = {number for number in code[of_kernel, VALUE].tolist() if not self._kernels[number]}
        if wanted:
            known = [KERNEL_NAMES[number] for number in (*wanted, *np.flatnonzero(self._kernels).tolist())]
            compile_ahead((KERNEL_NAMES[number] for number in wanted), self._clock_entries(known))
        for number in wanted:
            self._kernels[number] = load_kernels.address(KERNEL_NAMES[number])
        if wanted:
            self._describe_clocks()

    def _piece(self, pc: int) -> Piece | None:
        """The decoded code around `pc`, None when there is no executable memory."""
        if pc % 4:
            return None
        at = bisect_right(self._pieces, pc, key=lambda piece: piece.base) - 1
        while at >= 0 and pc < self._pieces[at].base + self._longest:       # the nearest, or one that surrounds it
            if pc < self._pieces[at].end:
                return self._pieces[at]
            at -= 1
        span = self._span(pc)
        if span is None:
            return None
        new = self._decode([(max(pc & -_PAGE, span[0]), min((pc & -_PAGE) + _PAGE, span[1]))])
        if new:
            self._patch([(new.base, new.end, new)])
            self._guard_also([], self._ranges[-1:])
        return new

    @exclusive(within=True)
    def code_changed(self, address: int, size: int) -> None:
        """Decode again what has been stored to code."""
        self._decode_again(address, size)

    def _decode_again(self, address: int, size: int) -> None:
        if address + size <= self._guarded[0] or address >= self._guarded[1]:           # most stores are to data
            return
        low, high = address & ~3, min(address + size + 3 & ~3, (1 << 64) - 1)
        touched = np.flatnonzero((self._bounds[:, 0] < high) & (self._bounds[:, 1] >= low)).tolist() if size > 0 else []
        if touched:
            self._add_visits()
            for number in touched:
                start, end, piece = self._ranges[number]
                part = max(low, start), min(high, end), piece
                self._fill(piece, *part[:2])
                self._patch([part])

    def _code_written(self) -> None:
        """Notice what Python has written to code since it was decoded."""
        for start, end, piece in self._ranges:
            part = slice((start - piece.base) // 4, (end - piece.base) // 4)
            for i in np.flatnonzero(piece.words[part] != self._words(start, end)).tolist():
                self._decode_again(start + 4 * i, 4)

    # ---------------------------------------------------------------------------------------------- running

    @exclusive(within=True)
    def hook(self, function: Hook, where: Where | None = None, writes: Sequence[tuple[int, int]] = ()) -> None:
        super().hook(function, where, writes)
        self._look_on()

    @exclusive(within=True)
    def hook_before(self, function: Hook, places: Collection[int]) -> None:
        super().hook_before(function, places)
        self._look_on()

    @exclusive(within=True)
    def unhook(self, function: Hook) -> None:
        super().unhook(function)
        self._look_on()                               # at once: a hook may remove itself in the middle of a run

    def wake(self) -> None:
        self._block[block.STOP] = 1

    def _prepare(self) -> None:
        super()._prepare()
        self._loop = _LOOP(load_kernels.loop(self._visits is not None))
        self._code_written()

    def _changed(self) -> None:
        super()._changed()
        self._describe_state()
        self._forget()
        if self._patched != (self.breakpoints, self.watchpoints, self._hooks):
            self._look_on()

    def _forget(self) -> None:
        """Where memory that was constant may have been written to, forget what is remembered of it."""
        if self._constants is not self.memory.constants:
            self._describe_memory()
            self._guard()

    def _advance(self, left: int | None) -> bool:
        """Run compiled code from pc, at most SLICE instructions. False: it stands in front of one that is not plain."""
        piece = None if self._everywhere else self._piece(self.pc)
        if piece is None:
            return False
        self._block[block.STOP] = 0
        if self._requests:                      # after the line above: `stop` first adds its request, then calls `wake`
            return True
        limit = SLICE if left is None else min(left, SLICE)
        _REGISTERS.pack_into(self._registers.data, 0, *self.x, 0, self.pc)
        done = self._loop(piece.address, self._address, limit)
        *self.x[:], _, self.pc = _REGISTERS.unpack_from(self._registers.data)
        return bool(self._block[block.STOP]) or (done > 0 and (
            done == limit or self.pc in self.breakpoints
            or not piece.base <= self.pc < piece.end))                  # may be in another piece; without code, the fetch traps

    def _step(self) -> TrapReport | None:
        """Have the reference engine execute one instruction."""
        report = super()._step()
        name = self.row.mnemonic if self.row else "(none)"
        self.handed_over[name] = self.handed_over.get(name, 0) + 1
        for address, destination, _ in self._writes:
            self._decode_again(address, len(destination))
        self._forget()
        return report

    # ---------------------------------------------------------------------------------------------- profile

    @property
    def visits(self) -> Counter[tuple[int, int]]:
        self._add_visits()
        return super().visits

    def _add_visits(self) -> None:
        """Add to the profile what the loop has counted."""
        if self._visits is not None:
            for piece in self._pieces:
                for i in np.flatnonzero(piece.visits).tolist():
                    self._visits[piece.base + 4 * i, int(piece.words[i])] += int(piece.visits[i])
                piece.visits[:] = 0
