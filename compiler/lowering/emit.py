"""Writes assembly: instructions with their operands. A value that a register holds already is not loaded again.

A `Want` says what an operand is: an address, a number, the bits of an fp32 number. The emitter finds a register that holds it, or
loads one. It sets CSRs that have another value. It makes a unit wait for another one whose results it reads. Where control flow
joins (`label`) the emitter forgets what registers hold, except those that are pinned or taken.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

from compiler.lowering.profile import TEXTS, Profile
from isa.instruction import TABLE
from isa.queues import CORE, QUEUE, QUEUES, Order, PairTags
from isa.text import printable

# Registers with a fixed role in every compiled program.
POSITION, LAYER, KEYS, VALUES, POSITIONS, KV_OFFSET, ROPE_ROW, LAYERS_LEFT, WEIGHTS, TOKEN, BUFFER, BUFFER_TAG = (
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "gp", "tp", "ra", "sp")
BASE = {"keys": KEYS, "values": VALUES}                          # of a layer's part of a cache
LAYER_ROW = BUFFER       # on machines with banks, which need no buffers: the first row of the layer's matrices in the banks
FRAME, TOKENS_LEFT = "s8", "s9"         # in code for a chunk of tokens: the frame of the current one, and how many are left
# a6 and a7 are free for address arithmetic between two operations.
POOL = ("a0", "a1", "a2", "a3", "a4", "a5", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "s8", "s9", "s10", "s11")    # as needed
BUFFER_TAGS = 2          # 1 and 2, of the two buffers
HALVES_TAG = 3           # and 4, of the two halves of a chunk, where these take turns (turns.py)


@dataclass(frozen=True)
class Want:
    """What a register must hold. `text` is shown in comments."""

    kind: str               # symbol, number, bits, offset; count: what lies at a symbol
    value: str | int
    base: str = ""          # of an offset: the register it is added to
    text: str = ""
    near: bool = False      # an address in the scratchpad of what stays there
    most: int = 0           # of a count: what it is at most


def symbol(name: str) -> Want:
    return Want("symbol", name, text=name)


def number(value: int) -> Want:
    return Want("number", value)


def bits(value: float) -> Want:
    """fp32 bits, as scalar operands are given."""
    return Want("number", struct.unpack("<I", struct.pack("<f", value))[0], text=f"{value:.9g}")


def offset(base: str, value: int, text: str = "", *, near: bool = False) -> Want:
    """base + value, an address."""
    return Want("offset", value, base, text, near)


Source = Want | str


class Emitter:
    """Lines of assembly, as they are written, and a profile of what they read.

    overlap  says whether two values share bytes; tags: how many are kept for other ways than between two units
    own      a fence waits only for operations that were emitted since the last one; else for everything
    """

    def __init__(self, overlap: Callable[[str, str], bool] = str.__eq__, tags: int = BUFFER_TAGS) -> None:
        self.lines: list[str] = []
        self.profile = Profile((POSITIONS, TEXTS))
        self._overlap = overlap
        self._held: dict[str, Want] = {}            # register -> what it holds; the least recently used first
        self._kept: set[str] = set()                # registers that are pinned or taken
        self._csrs: dict[str, int] = {}
        self._queues: set[int] = set()              # of operations that read or write values, since the last `watched`
        self._touched: dict[tuple[str, int, bool], int] = {}    # (value, queue, written) -> number of the last such operation
        self._order, self._tags, self.own = Order(), PairTags(tags), False

    # ---------------------------------------------------------------------------------------------- text

    # Names in comments may come from a file. They must not end the line: the rest would be code.

    def line(self, text: str, comment: str = "") -> None:
        """Instructions that are one thought, with semicolons between them. The comment stands beside the last one.

        The text is cut at every `;`, also in quotes.
        """
        *before, last = (f"    {instruction.strip()}" for instruction in text.split(";"))
        for instruction in (*before, last):
            self.profile.load(instruction)
        self.lines += [*before, f"{last:<48}# {printable(comment)}" if comment else last]

    def framed(self, text: str, size: int, comment: str = "") -> None:
        """As `line`, with loads from the head of the current frame, of so many bytes."""
        with self.profile.uncounted():
            self.line(text, comment)
        self.profile.framed(size)

    def comment(self, text: str) -> None:
        self.lines += ["", f"    # ---- {printable(text)}"]

    def label(self, name: str) -> None:
        """A place that control flow reaches from elsewhere."""
        self.forget()
        self.lines.append(f"{name}:")

    def mark(self, name: str) -> None:
        """A name for this place. Nothing jumps to it, or only code for which all registers and CSRs are as here."""
        self.lines.append(f"{name}:")

    def forget(self, csrs: bool = True) -> None:
        self._held = {register: want for register, want in self._held.items() if register in self._kept}
        if csrs:
            self._csrs = {}

    # ---------------------------------------------------------------------------------------------- operations

    def op(self, mnemonic: str, *operands: Source, reads: Collection[str] = (), writes: Collection[str] = (),
           comment: str = "", near: bool | None = None) -> None:
        """One Xslim instruction. `reads` and `writes` name the values in memory that it takes and makes. `near`: whether it
        copies from the scratchpad; None: it does if the operand is a symbol, in a frame, or the address of what stays there."""
        row = TABLE[mnemonic]
        queue = QUEUE[row.unit]
        self.order(row.unit, reads, writes)
        registers: list[str] = []
        for operand in operands:
            registers.append(operand if isinstance(operand, str) else self.register(operand, registers))
        said = ", ".join(o.text for o in operands if isinstance(o, Want) and o.text)
        self.line(f"{mnemonic} {', '.join(registers)}", comment or said)
        wants = [o if isinstance(o, Want) else self._held.get(o) for o in operands]
        values = [want.value if want and want.kind == "number" else want.most if want and want.kind == "count"
                  else o if isinstance(o, str) else "" for want, o in zip(wants, operands, strict=True)]
        self.profile.exact &= all(want is None or want.kind != "count" for want in wants)
        if near is None:
            near = any(isinstance(o, Want) and (o.near or o.kind == "symbol" or o.base == FRAME) for o in operands[1:2])
        self.profile.reads(row, values, self._csrs, near)
        at = self._order.issue(queue)
        if reads or writes:
            self._queues.add(queue)
        self._touched |= {(name, queue, False): at for name in reads} | {(name, queue, True): at for name in writes}
        if row.result is not None:
            self._order.result(queue)

    def register(self, want: Want, busy: Collection[str] = ()) -> str:
        """A register that holds `want`. If none does, one is loaded, but none of the `busy` ones."""
        for register, held in self._held.items():
            if held == want:
                self._held[register] = self._held.pop(register)             # now the most recently used
                return register
        register = self._free(busy)
        self._load(register, want)
        self._held[register] = want
        return register

    def _free(self, busy: Collection[str]) -> str:
        """A register of the pool that holds nothing, or else the one that was not used for the longest time."""
        unused = (*busy, *self._kept)
        register = next((r for r in (*(r for r in POOL if r not in self._held), *self._held) if r not in unused), None)
        assert register is not None, "more operands are pinned than there are registers"
        self._held.pop(register, None)
        return register

    def _load(self, register: str, want: Want) -> None:
        match want.kind:
            case "symbol":
                self.line(f"la {register}, {want.value}")
            case "number":
                self.line(f"li {register}, {want.value}")
            case "count":
                self.line(f"ld {register}, {want.value}")
            case "offset" if isinstance(want.value, int) and -2048 <= want.value < 2048:
                self.line(f"addi {register}, {want.base}, {want.value}")
            case _:
                self.line(f"li {register}, {want.value};  add {register}, {register}, {want.base}")

    def move(self, register: str, operand: Source, comment: str = "") -> None:
        """Set a register that the caller will change."""
        if isinstance(operand, str):
            self.line(f"mv {register}, {operand}", comment)
        else:
            self._load(register, operand)

    def advance(self, register: str, size: int) -> None:
        """Add a number to a register. Overwrites a6 if it is 2048 or more."""
        if size < 2048:
            self.line(f"addi {register}, {register}, {size}")
        else:
            self.line(f"li a6, {size};  add {register}, {register}, a6")

    def advance_rows(self, register: str, rows: str, row_bytes: int) -> None:
        """Add the bytes of as many rows as register `rows` says. Overwrites a6 and a7."""
        self.line(f"li a6, {row_bytes};  mul a7, {rows}, a6;  add {register}, {register}, a7")

    def at_most(self, register: str, most: int, left: str, what: str) -> None:
        """Set a register to `most`, or to what register `left` holds if that is less. Defines the local label 1."""
        self.line(f"li {register}, {most}", what)
        self.line(f"bgeu {left}, {register}, 1f;  mv {register}, {left}")
        self.mark("1")

    @contextmanager
    def pinned(self, *operands: Source) -> Iterator[list[str]]:
        """Registers that hold these operands until the block ends, also behind labels."""
        before = set(self._kept)
        registers: list[str] = []
        for operand in operands:
            registers.append(operand if isinstance(operand, str) else self.register(operand, registers))
            self._kept.add(registers[-1])
        yield registers
        self._kept = before

    @contextmanager
    def taken(self, count: int) -> Iterator[list[str]]:
        """Registers that only the caller uses until the block ends."""
        before = set(self._kept)
        registers: list[str] = []
        for _ in range(count):
            registers.append(self._free(()))
            self._kept.add(registers[-1])
        yield registers
        self._kept = before

    @contextmanager
    def watched(self) -> Iterator[set[int]]:
        """Yields the queues whose operations, emitted inside, read or write values: complete when the block ends."""
        queues: set[int] = set()
        self._queues = queues
        yield queues

    @contextmanager
    def reserved(self, *registers: str) -> Iterator[None]:
        """These registers of the pool are the caller's until the block ends."""
        before = set(self._kept)
        for register in registers:
            self._held.pop(register, None)
        self._kept |= set(registers)
        yield
        self._kept = before

    def changed(self, base: str) -> None:
        """A register that addresses are relative to has changed: forget them."""
        self._held = {register: want for register, want in self._held.items() if want.base != base}

    def recounted(self) -> None:
        """Counts in memory have changed: forget them."""
        self._held = {register: want for register, want in self._held.items() if want.kind != "count"}

    @contextmanager
    def loop(self, name: str, count: int, counter: str) -> Iterator[None]:
        """Repeat what is emitted inside `count` times. The body must change no CSR."""
        if count == 1:
            yield
            return
        self.line(f"li {counter}, {count}")
        self.forget(csrs=False)
        self.lines.append(f"{name}:")
        before = dict(self._csrs)
        with self.profile.loop(count):
            yield
        assert self._csrs == before, f"the body of {name} changes a CSR"
        self.line(f"addi {counter}, {counter}, -1;  bnez {counter}, {name}")

    @contextmanager
    def unless(self, branch: str, label: str, taken: int = 0) -> Iterator[list[str]]:
        """What is emitted inside is skipped where `branch` ("bltu a0, a1") is taken. It begins and ends with a fence, so behind it
        units wait for what they would wait for without it. Yields `taken` registers that only the caller uses.

        What it reads is left out of predictions, which then are not exact.
        """
        self.line(f"{branch}, {label}")
        before, self.profile.exact = (deepcopy(self._order), dict(self._touched)), False
        with self.profile.uncounted(), self.taken(taken) as registers:
            self.fence()
            self.forget()
            yield registers
            self.fence()
        self.label(label)
        self._order, self._touched = before

    def csr(self, name: str, value: int | str) -> None:
        """Set a CSR to a number, or to what a register holds."""
        if isinstance(value, str):
            self.line(f"csrw {name}, {value}")
            self._csrs.pop(name, None)
            self.profile.csr(name, value)
        elif self._csrs.get(name) != value:
            self.line(f"csrwi {name}, {value}" if value < 32 else f"csrw {name}, {self.register(number(value))}")
            self._csrs[name] = value
            self.profile.csr(name)

    # ---------------------------------------------------------------------------------------------- order between units

    def order(self, unit: str, reads: Collection[str], writes: Collection[str]) -> None:
        """Make `unit` wait for operations of other units: those that write what it reads, and those that use what it overwrites."""
        queue = QUEUE[unit]
        needed: dict[int, int] = {}
        for (name, other, written), at in self._touched.items():
            if other != queue and (any(self._overlap(name, mine) for mine in writes)
                                   or (written and any(self._overlap(name, mine) for mine in reads))):
                needed[other] = max(needed.get(other, 0), at)
        for other, at in sorted(needed.items(), key=lambda item: -item[1]):     # the latest first: its wait may cover others
            if self._order.knows(queue, other) < at:
                self._wait(queue, other)

    def wait(self, unit: str, other: str) -> None:
        """`unit` waits until `other` has done everything that it was given so far."""
        self._wait(QUEUE[unit], QUEUE[other])

    def _wait(self, queue: int, other: int) -> None:
        tag = self._tags.tag(other, queue)
        register = self.register(number(tag))
        self.line(f"sync.signal.{QUEUES[other]} {register};  sync.wait{f'.{QUEUES[queue]}' if queue else ''} {register}")
        self._order.signal(other, tag)
        self._order.wait(queue, tag)

    def signal(self, unit: str, register: str, tag: int) -> None:
        """`unit` signals the tag in a register; `hold` with the same `tag` waits for it. It is one of those that are kept."""
        self.line(f"sync.signal.{unit} {register}")
        self._order.signal(QUEUE[unit], tag)

    def hold(self, register: str, tag: int) -> None:
        """The core waits for the tag in a register."""
        self.line(f"sync.wait {register}")
        self._order.wait(CORE, tag)

    def fence(self) -> None:
        """The core waits for everything, or for what it has given to units itself (`own`)."""
        if self.own:
            self.order("core", (), {name for name, _, _ in self._touched})
        else:
            self.line("sync.fence")
            self._order.fence()
        self._touched = {}
