"""Binary and ternary matrices as centres and differences, so that a sum that is made once serves many rows.

    found = cluster(codes, columns)         # (rows, cols) int8
    found.centres                           # (CENTRES, columns) codes
    found.assigned                          # (rows, pieces): each piece of a row belongs to this centre
    found.differences(codes)                # codes less those of their centres: mostly 0

The columns are cut into pieces of so many columns, the last may be short. All pieces of a matrix share its centres, so one product
with the pieces of a vector makes all sums. This is the rule:

    centres    the first CENTRES pieces that differ, row by row; fewer, and the first one fills the rest. What a short piece lacks
               is -1 in a centre
    ROUNDS     times: each piece to its nearest centre, by the number of codes that differ, ties to the first; then each code of a
               centre is the most frequent one of its pieces, ties to the least; a centre without pieces stays. Then once more to
               the nearest

It depends on the matrix alone.

Sources: Slim-Llama, ISSCC 2025 paper 23.9 (outputs of clustered columns are reused, index vectors reordered); third-party
re-implementation quantspar, docs/slimllama.md: 128 centres, Hamming distance, lowest number on ties, buffer mode from 38 % zeros.
The number of rounds, the first centres, that pieces share them, and windows of rows are *assumed*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.formats.weight_format import WEIGHT_FORMATS, WeightFormat

Codes = npt.NDArray[np.int8]

COLUMNS = 64            # of a piece, unless others are asked for
CENTRES = 128
ROUNDS = 8
BUFFERED = 0.38         # share of zeros from which the differences of a row are multiplied in buffer mode, else in mixed mode
WINDOW = 32             # rows within which their order is free
_STEP = 1 << 14         # pieces that are compared at a time

LUT, BUFFER, MIXED = range(3)           # lut.mode


@dataclass(frozen=True)
class Reuse:
    """How matrices of a format are stored as centres and differences.

    shift  differences are stored divided by 1 << shift
    """

    format: WeightFormat        # that a recipe asks for
    centres: WeightFormat
    differences: WeightFormat
    shift: int


REUSED = {name: Reuse(WEIGHT_FORMATS[name], WEIGHT_FORMATS[centres], WEIGHT_FORMATS[differences], shift)
          for name, centres, differences, shift in (("b1", "b1", "t2", 1), ("t2", "t2", "i3", 0), ("t5", "t2", "i3", 0))}
"""By format. Codes -1 and 1 differ by -2, 0 or 2, ternary ones by -2 to 2."""


@dataclass(frozen=True)
class Clusters:
    """Centres (CENTRES, columns), and the centre of each piece of each row (rows, pieces)."""

    centres: Codes
    assigned: npt.NDArray[np.uint8]

    def differences(self, codes: Codes) -> Codes:
        """(rows, cols): the codes less those of the centres."""
        rows, cols = codes.shape
        near: Codes = self.centres[self.assigned].reshape(rows, -1)[:, :cols]
        return codes - near


class _Pieces:
    """The pieces of a matrix, and how often their codes equal those of centres: by a product of features.

    For codes a and b of -1, 0 and 1, [a = b] = (1 - a a) + a b / 2 + (3 a a / 2 - 1) b b. The first term is the same for all
    centres. Columns that a short piece lacks have no features.
    """

    def __init__(self, codes: Codes, columns: int) -> None:
        self.rows, cols = codes.shape
        self.count, self.short = -(-cols // columns), cols % columns        # pieces of a row, columns of a short one
        self.codes = np.pad(codes, ((0, 0), (0, -cols % columns))).reshape(-1, columns)
        self.binary = not (codes == 0).any()

    def _features(self, first: int) -> npt.NDArray[np.float32]:
        codes = self.codes[first:first + _STEP].astype(np.float32)
        if self.binary:
            return codes
        square = np.float32(1.5) * codes * codes - 1
        if self.short:
            square[(np.arange(first, first + len(codes)) + 1) % self.count == 0, self.short:] = 0
        return np.concatenate([codes * np.float32(0.5), square], axis=1)

    def nearest(self, centres: Codes) -> npt.NDArray[np.uint8]:
        """The centre of each piece, (pieces,)."""
        values = centres.astype(np.float32)
        features = (values if self.binary else np.concatenate([values, values * values], axis=1)).T
        found = np.empty(len(self.codes), np.uint8)
        for first in range(0, len(found), _STEP):
            found[first:first + _STEP] = (self._features(first) @ features).argmax(axis=1)
        return found

    def first(self) -> Codes:
        """The first CENTRES pieces that differ."""
        seen: dict[bytes, Codes] = {}
        for number, piece in enumerate(self.codes, 1):
            if self.short and number % self.count == 0:
                piece = np.append(piece[:self.short], np.full(len(piece) - self.short, -1, np.int8))
            seen.setdefault(piece.tobytes(), piece)
            if len(seen) == CENTRES:
                break
        found = [*seen.values()]
        return np.stack([*found, *found[:1] * (CENTRES - len(found))])

    def means(self, assigned: npt.NDArray[np.uint8], centres: Codes) -> Codes:
        """The centres of these pieces: at each column the most frequent code."""
        order = np.argsort(assigned, kind="stable")
        sizes = np.bincount(assigned, minlength=CENTRES)
        used = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[used]
        plus, minus = (np.add.reduceat((self.codes == code)[order], starts, axis=0, dtype=np.int64) for code in (1, -1))
        present = np.repeat(sizes[used, None], self.codes.shape[1], axis=1)
        if self.short:
            present[:, self.short:] -= np.bincount(assigned[self.count - 1::self.count], minlength=CENTRES)[used, None]
        counts = np.stack([minus, present - plus - minus, plus])            # of -1, 0, 1
        if self.binary:
            counts[1] = -1
        result = centres.copy()
        result[used] = counts.argmax(axis=0) - 1
        return result


def cluster(codes: Codes, columns: int) -> Clusters:
    """The centres of a matrix (rows, cols) of codes -1, 0 and 1, and the centre of each of its pieces."""
    pieces = _Pieces(codes, columns)
    centres = pieces.first()
    for _ in range(ROUNDS):
        assigned = pieces.nearest(centres)
        better = pieces.means(assigned, centres)
        if (better == centres).all():
            break
        centres = better
    return Clusters(centres, pieces.nearest(centres).reshape(pieces.rows, pieces.count))


# ------------------------------------------------------------------------------------------------ the order of rows


@dataclass(frozen=True)
class Order:
    """The rows of a matrix in the order in which their differences are stored; the first `buffered` ones are multiplied in buffer
    mode. `toggles`: bits that differ from row to row, in the order of the matrix and in this one."""

    rows: npt.NDArray[np.uint32]
    buffered: int
    toggles: tuple[int, int]


def in_order(differences: Codes, form: WeightFormat) -> Order:
    """Rows with many zeros first; then in windows by their bits: after each row the one of the window that differs least from it,
    ties to the first."""
    many = np.count_nonzero(differences == 0, axis=1) >= BUFFERED * differences.shape[1]
    words = _words(form.packing.pack(differences))
    rows = np.concatenate([of[_windows(words[of])] for of in (np.flatnonzero(many), np.flatnonzero(~many))]).astype(np.uint32)
    return Order(rows, int(many.sum()), (_toggles(words), _toggles(words[rows])))


def _words(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Rows of bytes as words, zeros behind them."""
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def _bits(words: npt.NDArray[np.uint64]) -> Any:
    return np.bitwise_count(words).sum(axis=-1, dtype=np.int64)


def _toggles(words: npt.NDArray[np.uint64]) -> int:
    return int(_bits(words[1:] ^ words[:-1]).sum())


def _windows(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The order of rows: in each window from its first row on, always to the nearest one that is left."""
    rows = len(words)
    whole = np.pad(words, ((0, -rows % WINDOW), (0, 0))).reshape(-1, WINDOW, words.shape[1])
    apart = np.stack([_bits(whole ^ whole[:, each, None]) for each in range(WINDOW)], axis=1)       # (windows, WINDOW, WINDOW)
    gone = np.iinfo(np.int64).max
    window = np.arange(len(whole))
    apart[:, :, 0] = gone
    if rows % WINDOW:
        apart[-1, :, rows % WINDOW:] = gone - 1         # behind the last row: taken at the end
    order = np.zeros((len(whole), WINDOW), np.int64)
    for place in range(1, WINDOW):
        order[:, place] = apart[window, order[:, place - 1]].argmin(axis=1)
        apart[window, :, order[:, place]] = gone
    return (order + WINDOW * window[:, None]).reshape(-1)[:rows]
