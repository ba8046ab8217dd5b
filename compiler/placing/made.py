"""Contents of a program file that are made while it is written. So a model's weights are written only once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from isa.program import FileSlice

BLOCK = 1 << 20


class Contents(Protocol):
    """Something of a known size that can write itself to a stream. `write` yields (bytes so far, all bytes) from time to time."""

    @property
    def size(self) -> int: ...

    def write(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]: ...


@dataclass(frozen=True)
class Made(FileSlice):
    """The bytes that `contents` writes, where a slice of a file is expected. `told` is called with the number of bytes so far."""

    contents: Contents
    told: Callable[[int], None]

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        passing = _Passing()
        for done, _ in self.contents.write(passing):
            self.told(done)
            yield from passing.taken(size)
        yield from passing.taken(size)


class _Passing(io.RawIOBase, IO[bytes]):
    """A stream that is written to on one side and emptied on the other."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._taken = 0

    def write(self, data: bytes) -> int:                # type: ignore[override]
        self._data += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._data)

    def taken(self, size: int) -> Iterator[bytes]:
        data, self._data = self._data, bytearray()
        self._taken += len(data)
        for start in range(0, len(data), size):
            yield bytes(data[start:start + size])
