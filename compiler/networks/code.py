"""How the assembly of a network is written: CSRs that change, constants in flash, fences between units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isa.csrs import CSRS
from isa.instruction import TABLE

PROGRAM, DATA = ".flash.text", ".flash.data"


Address = int | str         # of RAM; a text is one of flash, from `constant`


class Code:
    """Lines, and the bytes of constants that they use. `sram` is where the values of the plan begin."""

    def __init__(self, sram: int) -> None:
        self.lines: list[str] = []
        self.data = bytearray()
        self._sram = sram
        self._csrs: dict[str, int | str] = {}
        self._unit = ""
        self._known: dict[bytes, int] = {}

    def line(self, text: str, comment: str = "") -> None:
        """Instructions with semicolons between them; the comment stands beside the last."""
        *before, last = (f"    {one.strip()}" for one in text.split(";"))
        self.lines += [*before, f"{last:<40}# {comment}" if comment else last]

    def label(self, name: str, comment: str = "") -> None:
        self.lines += [f"\n{name}:" + (f"{'':<{max(1, 44 - len(name))}}# {comment}" if comment else "")]

    def constant(self, values: npt.ArrayLike, dtype: str) -> str:
        """The address of an array in flash. Equal ones are there once."""
        array = np.ascontiguousarray(values, dtype)
        content = array.tobytes()
        if content not in self._known:
            self.data += bytes(-len(self.data) % array.dtype.itemsize)
            self._known[content] = len(self.data)
            self.data += content
        return f"data+{self._known[content]}"

    def ram(self, offset: int) -> int:
        """An address of the plan."""
        return self._sram + offset

    def set(self, **csrs: int | str) -> None:
        """CSRs that have other values than now: vec__cols=3; a text is the name of an address."""
        for name, value in csrs.items():
            csr = name.replace("__", ".")
            if self._csrs.get(csr) == value:
                continue
            self._csrs[csr] = value
            if isinstance(value, int) and 0 <= value < 32:
                self.line(f"csrwi {csr}, {value}")
            else:
                self.line(f"{'la' if isinstance(value, str) else 'li'} t0, {value};  csrw {csr}, t0")

    def forget(self) -> None:
        """Control flow joins here: no CSR is known."""
        self._csrs, self._unit = {}, ""

    def op(self, mnemonic: str, *operands: int | str, comment: str = "") -> None:
        """An Xslim instruction with its operands: numbers, names of addresses. It waits for what another unit was given before."""
        unit = TABLE[mnemonic].unit
        if self._unit and unit != self._unit:
            self.line("sync.fence")
        self._unit = unit
        for i, operand in enumerate(operands):
            self.line(f"{'la' if isinstance(operand, str) else 'li'} a{i}, {operand}")
        self.line(f"{mnemonic} {', '.join(f'a{i}' for i in range(len(operands)))}", comment)

    def fence(self) -> None:
        """The core waits for all units."""
        self.line("sync.fence")
        self._unit = ""


def beyond(address: Address, offset: int) -> Address:
    """So many bytes behind an address."""
    if isinstance(address, int):
        return address + offset
    label, first = address.split("+")
    return f"{label}+{int(first) + offset}"


def packed_offsets(x: int, w: int, y: int) -> int:
    """The value of vec.offsets."""
    return sum((value & 0xFFFF) << 16 * i for i, value in enumerate((x, w, y)))


def packed_bounds(clamp: list[int] | None) -> int:
    """The value of vec.clamp."""
    least, greatest = clamp or (-128, 127)
    return (least & 0xFF) | (greatest & 0xFF) << 8


assert all(name in CSRS for name in ("vec.offsets", "vec.clamp"))
