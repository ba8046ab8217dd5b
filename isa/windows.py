"""Windows of an image, as convolutions and pools read them, and what makes int8 results of their sums. vec and sp have this in
common, and the CSRs of vec that say it. The twin of emulator/units/windows.py.

An image is lines of pixels of `vec.cols` channels, int8, in the order height, width, channel. A window is `vec.taps`: lines of
pixels that lie side by side. A vector is a window of one tap, its elements the channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isa.arithmetic import group_count
from isa.quantised import Ints, requantised, wrapped
from isa.traps import Cause, Trap

if TYPE_CHECKING:
    from isa.engine.vocabulary import Vocabulary

LARGEST = 1 << 28       # elements of all windows together, and results
OFFSET = 255            # the largest offset


class Windows(NamedTuple):
    """Where the windows of an image lie: numbers and bytes."""

    down: int           # lines of windows
    across: int         # windows of a line
    lines: int          # lines of a window
    pixels: int         # pixels of its lines
    channels: int
    step: int           # bytes from window to window
    window_line: int    # bytes from a line of windows to the next
    line: int           # bytes from a line of a window to the next

    @property
    def many(self) -> int:
        return self.down * self.across

    @property
    def taps(self) -> int:
        return self.lines * self.pixels

    @property
    def elements(self) -> int:
        """Elements of a window."""
        return self.taps * self.channels

    @property
    def extent(self) -> int:
        """Bytes from the first to the last."""
        return ((self.down - 1) * self.window_line + (self.across - 1) * self.step + (self.lines - 1) * self.line
                + self.pixels * self.channels)


def windows_of(m: Vocabulary) -> Windows | None:
    """The windows that CSRs describe; None: there are none, and nothing is to be done. Trap for a window without elements."""
    many, taps, channels = m.csr("vec.windows"), m.csr("vec.taps"), m.csr("vec.cols")
    found = Windows(many >> 16, many & 0xFFFF, taps >> 16, taps & 0xFFFF, channels,
                    m.csr("vec.step"), m.csr("vec.window_line"), m.csr("vec.line"))
    if not found.many:
        return None
    if not found.taps:
        raise Trap(Cause.ILLEGAL_OPERAND, taps, f"vec.taps says {taps >> 16} lines of {taps & 0xFFFF} pixels; expected 1 or more")
    if not channels:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "vec.cols is 0: expected the channels of a pixel")
    if found.many * found.elements > LARGEST:
        raise Trap(Cause.CAPACITY, found.many * found.elements,
                   f"{found.many} windows of {found.elements} elements; expected at most {LARGEST:#x} elements together")
    return found


def read_windows(m: Vocabulary, x: int, some: Windows) -> Ints:
    """The elements (windows, taps, channels) of an image at x. Each window reads its own: what lies in several is read as often."""
    m.check_read(x, some.extent)
    rows = [m.read_i8(x + i * some.window_line + j * some.step + k * some.line, some.pixels * some.channels)
            for i in range(some.down) for j in range(some.across) for k in range(some.lines)]
    return np.stack(rows).reshape(some.many, some.taps, some.channels).astype(np.int64)


def weight_stride(m: Vocabulary, cols: int) -> int:
    """Bytes from row to row of weights, as `vec.row_stride` says."""
    return m.stride("vec.row_stride", cols, f"a row of {cols} weights", zero=cols)


def read_weights(m: Vocabulary, W: int, rows: int, cols: int, stride: int) -> Ints:
    """The int8 rows (rows, cols) of a matrix, `stride` bytes apart."""
    m.check_read(W, m.span(rows, cols, stride))
    if stride == cols:
        return m.read_i8(W, rows * cols).reshape(rows, cols).astype(np.int64)
    return np.stack([m.read_i8(W + r * stride, cols) for r in range(rows)]).astype(np.int64)


def products(x: Ints, w: Ints) -> Ints:
    """x (windows, n) times the transpose of w (outputs, n). Exact: products of int8 with an offset fill 17 bits, sums of 2**28 of
    them 45."""
    return np.rint(x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)


# ------------------------------------------------------------------------------------------------ results


def offsets(m: Vocabulary) -> tuple[int, int, int]:
    """What `vec.offsets` says is added: to x, to the other operand, to results. Trap for more than 255."""
    word = m.csr("vec.offsets")
    fields = [(word >> 16 * i & 0xFFFF ^ 0x8000) - 0x8000 for i in range(3)]
    if max(map(abs, fields)) > OFFSET:
        raise Trap(Cause.ILLEGAL_OPERAND, word, f"vec.offsets says {fields[0]}, {fields[1]}, {fields[2]}; expected -255..255 each")
    return fields[0], fields[1], fields[2]


def factors(m: Vocabulary, count: int) -> tuple[Ints, Ints]:
    """`count` multipliers and shifts. Trap for a shift that is not in -31..31."""
    multipliers, shifts = m.read_i32(m.csr("vec.multipliers"), count), m.read_i8(m.csr("vec.shifts"), count)
    beyond = np.flatnonzero(np.abs(shifts.astype(np.int64)) > 31)
    if len(beyond):
        place = int(beyond[0])
        raise Trap(Cause.ILLEGAL_OPERAND, place, f"shift {place} is {shifts[place]}; expected -31..31")
    return multipliers.astype(np.int64), shifts.astype(np.int64)


def scaled(m: Vocabulary, values: Ints, multipliers: Ints, shifts: Ints) -> Ints:
    """values, as int32, requantised with the rounding that `vec.rounding` says."""
    return requantised(wrapped(values), multipliers, shifts, once=bool(m.csr("vec.rounding")))


def clamped(m: Vocabulary, values: Ints) -> Ints:
    """Not less than the lower byte of `vec.clamp` says, and not more than the upper one."""
    bounds = m.csr("vec.clamp")
    least, greatest = ((bounds >> 8 * i & 0xFF ^ 0x80) - 0x80 for i in range(2))
    return np.minimum(np.maximum(values, least), greatest)


def result_stride(m: Vocabulary, rows: int, outputs: int) -> int:
    """Bytes from row to row of results, as `vec.result_stride` says. Trap for more of them than an instruction may have."""
    if rows * outputs > LARGEST:
        raise Trap(Cause.CAPACITY, rows * outputs, f"{rows} times {outputs} results; expected at most {LARGEST:#x}")
    return m.stride("vec.result_stride", outputs, f"{outputs} results", zero=outputs)


def write_results(m: Vocabulary, y: int, sums: Ints, stride: int, biased: bool = True) -> None:
    """int8 results of sums (rows, outputs): clamp(scaled(sums + bias) + offset), rows `stride` bytes apart.

    `vec.scale_group` results of a row share a multiplier and a shift, all where it is 0.
    """
    rows, outputs = sums.shape
    groups = group_count(outputs, m.csr("vec.scale_group"))
    offset = offsets(m)[2]
    multipliers, shifts = factors(m, groups)
    group_of = np.arange(outputs) // (m.csr("vec.scale_group") if groups > 1 else outputs)
    if biased and m.csr("vec.bias"):
        sums = sums + m.read_i32(m.csr("vec.bias"), outputs)
    results = clamped(m, scaled(m, sums, multipliers[group_of], shifts[group_of]) + offset)
    m.check_write(y, m.span(rows, outputs, stride))
    if stride == outputs:
        m.write_i8(y, results)
    else:
        for row, values in enumerate(results):
            m.write_i8(y + row * stride, values)
