"""Writes assembly: operations with their operands, without loading twice what a register holds already.

What an operand can be is said by `Want`s: an address, a number, the bits of an fp32 number. The emitter finds a register that
holds it or loads one, sets CSRs that do not have the wanted value, and puts signals between units where one takes up what
another has made. Where control flow joins (`label`) it forgets what registers hold, and what it has pinned stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# Registers with a fixed role in every compiled program.
POSITION, LAYER, KEYS, VALUES, POSITIONS, KV_OFFSET, ROPE_ROW, LAYERS_LEFT, WEIGHTS, TOKEN = (
    "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "gp", "tp")
SCRATCH = ("a6", "a7")                                           # free for address arithmetic between two operations
POOL = ("a0", "a1", "a2", "a3", "a4", "a5", "t0", "t1", "t2", "t3", "t4", "t5", "t6")            # loaded as needed
POINTERS = ("s8", "s9", "s10", "s11")                                                            # of loops


@dataclass(frozen=True)
class Want:
    """What a register is to hold. `text` is shown in comments."""

    kind: str               # symbol, number, bits, offset
    value: str | int
    base: str = ""          # of an offset: the register it is added to
    text: str = ""


def symbol(name: str) -> Want:
    return Want("symbol", name, text=name)


def number(value: int) -> Want:
    return Want("number", value)


def bits(value: float) -> Want:
    """fp32 bits, as scalar operands are given."""
    return Want("number", struct.unpack("<I", struct.pack("<f", value))[0], text=f"{value:.9g}")


def offset(base: str, value: int, text: str = "") -> Want:
    """base + value, an address."""
    return Want("offset", value, base, text)


Operand = Want | str


class Emitter:
    """Lines of assembly in the making."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._held: dict[str, Want] = {}            # register -> what it holds; the least recently used first
        self._pinned: set[str] = set()
        self._csrs: dict[str, int | str] = {}
        self._written: dict[str, tuple[str, int]] = {}          # value -> (unit, operation number) of the last write
        self._read: dict[str, dict[str, int]] = {}              # value -> unit -> number of its last read
        self._seen: dict[tuple[str, str], int] = {}             # (unit, other unit) -> operations of the other it has waited for
        self._count = 0

    # ---------------------------------------------------------------------------------------------- text

    def line(self, text: str, comment: str = "") -> None:
        text = f"    {text}"
        self.lines.append(f"{text:<48}# {comment}" if comment else text)

    def comment(self, text: str) -> None:
        self.lines += ["", f"    # ---- {text}"]

    def label(self, name: str) -> None:
        """A place that control flow reaches from elsewhere."""
        self.forget()
        self.lines.append(f"{name}:")

    def mark(self, name: str) -> None:
        """A name for this place, which nothing jumps to."""
        self.lines.append(f"{name}:")

    def forget(self, csrs: bool = True) -> None:
        self._held = {register: want for register, want in self._held.items() if register in self._pinned}
        if csrs:
            self._csrs = {}

    # ---------------------------------------------------------------------------------------------- operations

    def op(self, mnemonic: str, *operands: Operand, reads: Sequence[str] = (), writes: Sequence[str] = (), comment: str = "") -> None:
        """One Xslim instruction. `reads` and `writes` name the values in memory that it takes and makes."""
        unit = mnemonic.split(".")[0]
        self._order(unit, reads, writes)
        busy: set[str] = set()
        registers = []
        for operand in operands:
            register = operand if isinstance(operand, str) else self.register(operand, busy)
            busy.add(register)
            registers.append(register)
        said = ", ".join(o.text for o in operands if isinstance(o, Want) and o.text)
        self.line(f"{mnemonic} {', '.join(registers)}", comment or said)

    def register(self, want: Want, busy: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        """A register that holds `want`, loaded if none does."""
        for register, held in self._held.items():
            if held == want:
                self._held[register] = self._held.pop(register)             # now the most recently used
                return register
        free = [register for register in POOL if register not in self._held and register not in busy]
        register = free[0] if free else next(r for r in self._held if r not in busy and r not in self._pinned)
        self._held.pop(register, None)
        self._load(register, want)
        self._held[register] = want
        return register

    def _load(self, register: str, want: Want) -> None:
        match want.kind:
            case "symbol":
                self.line(f"la {register}, {want.value}")
            case "number":
                self.line(f"li {register}, {want.value}")
            case "offset" if isinstance(want.value, int) and -2048 <= want.value < 2048:
                self.line(f"addi {register}, {want.base}, {want.value}")
            case _:
                self.line(f"li {register}, {want.value}")
                self.line(f"add {register}, {register}, {want.base}")

    @contextmanager
    def pinned(self, *wants: Want) -> Iterator[list[str]]:
        """Registers that hold these until the block ends, across labels too."""
        registers: list[str] = []
        for want in wants:
            register = self.register(want, set(registers))
            registers.append(register)
            self._pinned.add(register)
        yield registers
        self._pinned -= set(registers)

    @contextmanager
    def loop(self, name: str, count: int, counter: str) -> Iterator[None]:
        """Do what is emitted inside `count` times; the body changes no CSR."""
        if count == 1:
            yield
            return
        self.line(f"li {counter}, {count}")
        self.forget(csrs=False)
        self.lines.append(f"{name}:")
        before = dict(self._csrs)
        yield
        assert self._csrs == before, f"the body of {name} changes a CSR"
        self.line(f"addi {counter}, {counter}, -1")
        self.line(f"bnez {counter}, {name}")

    def csr(self, name: str, value: int | str) -> None:
        """Set a CSR to a number, or to what a register holds."""
        if isinstance(value, int) and self._csrs.get(name) == value:
            return
        if isinstance(value, int) and 0 <= value < 32:
            self.line(f"csrwi {name}, {value}")
        else:
            self.line(f"csrw {name}, {value if isinstance(value, str) else self.register(number(value))}")
        self._csrs[name] = value
        if isinstance(value, str):
            del self._csrs[name]

    # ---------------------------------------------------------------------------------------------- order between units

    def _order(self, unit: str, reads: Sequence[str], writes: Sequence[str]) -> None:
        """Have `unit` wait for the operations of other units that made what it reads, or still use what it overwrites."""
        needed: dict[str, int] = {}
        for name in (*reads, *writes):
            if name in self._written:
                other, at = self._written[name]
                needed[other] = max(needed.get(other, 0), at)
        for name in writes:
            for other, at in self._read.get(name, {}).items():
                needed[other] = max(needed.get(other, 0), at)
        for other, at in needed.items():
            if other != unit and self._seen.get((unit, other), 0) < at:
                self.wait(unit, other)
        self._count += 1
        for name in reads:
            self._read.setdefault(name, {})[unit] = self._count
        for name in writes:
            self._written[name], self._read[name] = (unit, self._count), {}

    TAGS = {pair: tag for tag, pair in enumerate(
        ((a, b) for a in ("vec", "lut", "thr", "fetch") for b in ("vec", "lut", "thr", "fetch") if a != b), 1)}

    def wait(self, unit: str, other: str) -> None:
        """`unit` goes on when what `other` has been given so far is done."""
        tag = self.register(number(self.TAGS[other, unit]))
        self.line(f"sync.signal.{other} {tag}")
        self.line(f"sync.wait.{unit} {tag}")
        self._seen[unit, other] = self._count

    def fence(self) -> None:
        """The core waits for everything."""
        self.line("sync.fence")
        self._written, self._read, self._seen = {}, {}, {}
