"""How the bytes of a machine lie in the host's virtual memory: pages that cost nothing until they are touched.

Zeros are anonymous pages. The contents of a program file are mapped, never copied: read-only ones as they are, those in writable
memory page by page as private copies that are made when they are written to. `touched` asks the operating system which pages
a run has written, so that a snapshot of gigabytes of mostly untouched memory looks at what matters alone.

Source: Linux, Documentation/admin-guide/mm/pagemap.rst; mmap(2).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isa.files import LARGE_PAGE
from isa.program_file import FileSlice, require

Bytes = npt.NDArray[np.uint8]

# Regions may be larger than the host's memory: only pages that are touched count. Python names the flags from 3.13 on, or never.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
LARGE = LARGE_PAGE                                  # bytes that a touch may claim
_FIXED = 0x10                                       # on Linux, macOS and the BSDs
_PRESENT_OR_SWAPPED, _OF_A_FILE = 62, 61            # bits of a pagemap entry: (63, 62), 61
_ENTRIES = 1 << 16                                  # of the page map, read at a time: 256 MiB of memory


def zeros(size: int) -> Bytes:
    """Zeros that take no memory of the host until they are touched."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    _ask_for_large(memory)
    return np.frombuffer(memory, np.uint8)


def _ask_for_large(memory: mmap.mmap) -> None:
    """Have LARGE pages where the host can: a matrix in them is read up to a third faster. A file is then read in such pages too."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):                     # a kernel without large pages
            memory.madvise(mmap.MADV_HUGEPAGE)


def sparse(target: Bytes) -> None:
    """Use only small pages in a part of an array that `zeros` made: a program that asked for these zeros may touch few of them.

    A model's keys and values are such: the first positions of each layer's cache lie a whole cache apart.
    """
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        start = -(-target.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
        size = target.ctypes.data + len(target) - start
        if size > 0:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_NOHUGEPAGE)


def clear(target: Bytes) -> None:
    """Set bytes to zero, without touching those that are zero."""
    for start in range(0, len(target), LARGE):
        block = target[start:start + LARGE]
        if block.any():
            block[:] = 0


def mapped(piece: FileSlice) -> Bytes:
    """Bytes of a file, read-only. Raises ProgramError if the file has become shorter."""
    _check(piece)
    head = piece.offset % mmap.ALLOCATIONGRANULARITY
    with open(piece.path, "rb") as stream:
        memory = mmap.mmap(stream.fileno(), head + piece.length, access=mmap.ACCESS_READ, offset=piece.offset - head)
    _ask_for_large(memory)
    return np.frombuffer(memory, np.uint8)[head:]


def place(piece: FileSlice, target: Bytes) -> None:
    """Put bytes of a file into `target`, a part of an array that `zeros` made: mapped, not read, as far as possible.

    Raises ProgramError if the file has become shorter.
    """
    _check(piece)
    start = target.ctypes.data
    head = -start % mmap.PAGESIZE                               # in front of the first whole page
    size = max(len(target) - head, 0) // mmap.PAGESIZE * mmap.PAGESIZE
    if not size or (piece.offset + head) % mmap.PAGESIZE or not _map_over(start + head, size, piece.path, piece.offset + head):
        head = size = 0
    at = 0
    for part in (FileSlice(piece.path, piece.offset, head),
                 FileSlice(piece.path, piece.offset + head + size, piece.length - head - size)):
        for block in part.blocks():
            target[at:at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
        at = head + size


def _check(piece: FileSlice) -> None:
    there = Path(piece.path).stat().st_size
    require(there >= piece.offset + piece.length, "file became shorter since it was read", path=piece.path)


def _map_over(address: int, size: int, path: str, offset: int) -> bool:
    """Replace the pages at `address`, which belong to an anonymous mapping, by private ones of a file. False: not possible here."""
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = library.mmap(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE,
                             mmap.MAP_PRIVATE | _FIXED | _NORESERVE, descriptor, ctypes.c_longlong(offset))
    finally:
        os.close(descriptor)
    return bool(found == address)


def touched(contents: Bytes) -> list[tuple[int, int]]:
    """Ranges (start, end) of an array that `zeros` made, outside of which every byte is as it was placed: zero, or of its file.

    Whole pages of the host, small or LARGE ones. Where the operating system does not tell, it is the whole array.
    """
    first, count = contents.ctypes.data // mmap.PAGESIZE, -(-len(contents) // mmap.PAGESIZE)
    own: list[npt.NDArray[np.intp]] = [np.zeros(0, np.intp)]            # pages that are this process's own
    buffer = bytearray(8 * _ENTRIES)
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as stream:
            for at in range(0, count, _ENTRIES):
                wanted = min(_ENTRIES, count - at)
                if os.preadv(stream.fileno(), [memoryview(buffer)[:8 * wanted]], 8 * (first + at)) != 8 * wanted:
                    return [(0, len(contents))]
                entries = np.frombuffer(buffer, np.uint64, wanted)
                there = np.flatnonzero(entries >> _PRESENT_OR_SWAPPED)
                own.append(at + there[entries[there] >> _OF_A_FILE & 1 == 0])
    except OSError:
        return [(0, len(contents))]
    numbers = np.concatenate(own)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if len(numbers) else []
    return [(int(run[0]) * mmap.PAGESIZE, min(int(run[-1] + 1) * mmap.PAGESIZE, len(contents))) for run in runs]


def give_back() -> None:
    """Make the C library return freed memory to the operating system, where it can (glibc). To be called after large work."""
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
