"""Which operation touched which byte last: disjoint address ranges, each with the number of an operation.

The hazard check keeps one of these per queue for what it writes and one for what it reads. Ranges are (start, end) in sorted
arrays, so a row of a large operation costs a fraction of a microsecond, and a question about one range a binary search.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Addresses = npt.NDArray[np.uint64]
Ranges = tuple[Addresses, Addresses]        # starts and ends, rising, disjoint and not adjacent

_EMPTY = np.zeros(0, np.uint64)


def ranges(accesses: list[tuple[int, int]]) -> Ranges:
    """The bytes of some accesses (address, bytes), in any order, which may overlap. Empty ones are left out."""
    if len(accesses) == 1 and accesses[0][1]:
        address, size = accesses[0]
        return np.array([address], np.uint64), np.array([address + size], np.uint64)
    table = np.array([access for access in accesses if access[1]], np.uint64).reshape(-1, 2)
    if not len(table):
        return _EMPTY, _EMPTY
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts, ends = table[:, 0], np.maximum.accumulate(table[:, 0] + table[:, 1])
    first = np.concatenate(([True], starts[1:] > ends[:-1]))         # a gap in front of it
    return starts[first], ends[np.concatenate((first[1:], [True]))]


class LastTouch:
    """For each byte the last operation that touched it: `numbers`, and `sites`, which say where in the program it stands."""

    def __init__(self) -> None:
        self.starts, self.ends = _EMPTY, _EMPTY
        self.numbers, self.sites = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._bound()

    def __len__(self) -> int:
        return len(self.starts)

    def _bound(self) -> None:
        self._low, self._high = (int(self.starts[0]), int(self.ends[-1])) if len(self) else (1 << 64, 0)

    def reaches(self, address: int, size: int) -> bool:
        """False if an access lies before or behind all ranges: a quick test that is enough for most accesses."""
        return address < self._high and address + size > self._low

    def _select(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> None:
        self.starts, self.ends = self.starts[rows], self.ends[rows]
        self.numbers, self.sites = self.numbers[rows], self.sites[rows]
        self._bound()

    def touch(self, touched: Ranges, number: int, site: int) -> None:
        """Operation `number` touches these bytes."""
        self.forget(touched)
        starts, ends = touched
        self.starts, self.ends = np.concatenate((self.starts, starts)), np.concatenate((self.ends, ends))
        self.numbers = np.concatenate((self.numbers, np.full(len(starts), number)))
        self.sites = np.concatenate((self.sites, np.full(len(starts), site)))
        self._select(np.argsort(self.starts, kind="stable"))

    def forget(self, touched: Ranges) -> None:
        """Cut these bytes out."""
        starts, ends = touched
        if not len(starts) or not len(self) or starts[0] >= self._high or ends[-1] <= self._low:
            return
        first = int(np.searchsorted(self.ends, starts[0], "right"))
        last = int(np.searchsorted(self.starts, ends[-1], "left"))
        if first >= last:
            return
        window = slice(first, last)
        # Between two neighbouring boundaries nothing changes: such a piece stays if it is in the window and not in `touched`.
        points = np.unique(np.concatenate((self.starts[window], self.ends[window], starts, ends)))
        pieces, following = points[:-1], points[1:]
        row = first + np.searchsorted(self.starts[window], pieces, "right") - 1
        cut = np.searchsorted(starts, pieces, "right") - 1
        stays = (row >= first) & (pieces < self.ends[row]) & ~((cut >= 0) & (pieces < ends[cut]))
        row = row[stays]
        before, after = slice(None, first), slice(last, None)
        self.starts, self.ends = (np.concatenate((column[before], middle, column[after])) for column, middle in (
            (self.starts, pieces[stays]), (self.ends, following[stays])))
        self.numbers, self.sites = (np.concatenate((column[before], column[row], column[after]))
                                    for column in (self.numbers, self.sites))
        self._bound()

    def forget_until(self, number: int) -> None:
        """Leave out the operations up to `number`."""
        later = self.numbers > number
        if not later.all():
            self._select(later)

    def later_than(self, number: int, touched: Ranges) -> npt.NDArray[np.intp]:
        """Indices of the ranges that share a byte with `touched` and belong to operations after `number`."""
        starts, ends = touched
        if not len(starts) or starts[0] >= self._high or ends[-1] <= self._low:
            return np.zeros(0, np.intp)
        first, last = np.searchsorted(self.ends, starts, "right"), np.searchsorted(self.starts, ends, "left")
        if len(starts) == 1:
            found = np.arange(first[0], last[0])
        else:
            some = first < last
            opened, closed = (np.bincount(bound[some], minlength=len(self) + 1) for bound in (first, last))
            found = np.flatnonzero(np.cumsum(opened - closed)[:-1])
        return found[self.numbers[found] > number]
