"""fetch.unpack: rows of chunks, from packets of numbers of variable width (packets.py).

A number that the table does not have must leave the result as it was. So first the places of all rows are found and, where a width
has room for such a number, numbers are looked at. Then the chunks are looked up.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PAGE_BYTES, PUNT, count, csr, csr_number, overlap, readable, result, slot, writable
from emulator.native.inlining import inline
from emulator.native.machine_code import atomic_add, load, move
from emulator.threads.parallel import in_parallel
from emulator.units.fetch.moves import FETCH, FLASH_READ, NO_PAGE, ROW_BYTES, TABLE_ROWS, can_finish, extent, finish, touched
from emulator.units.fetch.packets import (
    BYTES,
    PACKET,
    SPARE,
    WORDS,
    largest_of,
    looked_up,
    number_at,
    put_chunk,
    width_of,
    widths_above,
)

CHUNK_TABLE, CHUNK_BYTES, CHUNKS = csr_number("fetch.chunk_table"), csr_number("fetch.chunk_bytes"), slot("fetch.chunks")
MOST_BYTES, MOST_CHUNKS = 16, 1 << 15       # of a chunk; of their table
BYTE = 8                                    # bits of the numbers of the table of bytes
GRAIN = 8                                   # rows that a thread takes at least

i64 = np.int64


@njit
def head_bytes(each):
    """Bytes of the widths of a row of so many numbers."""
    return ((each + PACKET - 1) // PACKET + 1) >> 1


@njit
def find_rows(block, src, rows, each, room, starts):
    """Where each row begins, bytes behind `src`, and behind them where the last one ends, to starts (rows + 1,); (false if they do
    not lie there, whether a width is above `room`, whether one is above eight)."""
    head, whole, rest, at = head_bytes(each), each // PACKET, each % PACKET, 0
    wide = wider = False
    for row in range(rows):
        starts[row] = at
        host, _ = readable(block, FETCH, src, at + head, 1)
        if host == 0:
            return False, wide, wider
        total, above = widths_above(host + at, whole, room)
        size = 4 * total
        if above:
            wide = True
            wider = wider or widths_above(host + at, whole, BYTE)[1]
        if rest > 0:
            width = width_of(host + at, whole)
            size += (rest * width + 7) >> 3
            wide = wide or width > room
        at += head + size
    starts[rows] = at
    return readable(block, FETCH, src, at, 1)[0] != 0, wide, wider


@inline
def row_at(host, starts, row, spare, from_here):
    """Address of a row, behind which SPARE bytes may be read: rows that end behind `from_here` are copied to `spare`."""
    start, end = load(starts + 8 * row, i64), load(starts + 8 * row + 8, i64)
    if end <= from_here:
        return host + start
    move(spare, host + start, end - start)
    return spare


@inline
def look_at_rows(first, last, host, starts, from_here, longest, each, narrow, chunks, beyond):
    """Adds 1 to the int64 at `beyond` if one of the rows first..last has a number that is not below `chunks`.

    Numbers alone, as `in_parallel` passes them.
    """
    spare, head, whole, largest = np.empty(longest + SPARE, np.uint8), head_bytes(each), each // PACKET, i64(0)
    for row in range(first, last):
        widths = row_at(host, starts, row, spare.ctypes.data, from_here)
        largest = max(largest, largest_of(widths, widths + head, whole, narrow))
        place = widths + head + 4 * widths_above(widths, whole, 0)[0]
        for i in range(each % PACKET):
            largest = max(largest, i64(number_at(place, width_of(widths, whole), i)))
    if largest >= chunks:
        atomic_add(beyond, i64(1))
    spare[0] = 0                # keeps its memory alive until here


@inline
def look_up_rows(first, last, host, starts, from_here, longest, each, narrow, size, table, chunks, row_bytes, target):
    """The chunks of rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    spare, head = np.empty(longest + SPARE, np.uint8), head_bytes(each)
    whole, of_words = row_bytes // size // PACKET, size in WORDS            # packets without a chunk that is cut short
    if not of_words:
        whole = 0
    for row in range(first, last):
        widths, out = row_at(host, starts, row, spare.ctypes.data, from_here), target + row * row_bytes
        place = widths + head
        if whole > 0:
            looked_up(size, table, chunks, widths, place, whole, narrow, out)
        at = PACKET * whole
        place += 4 * widths_above(widths, whole, 0)[0]
        for packet in range(whole, (each + PACKET - 1) // PACKET):
            width = width_of(widths, packet)
            for i in range(min(each - PACKET * packet, PACKET)):
                chunk, left = table + size * i64(number_at(place, width, i)), row_bytes - size * at
                if left >= size and of_words:
                    put_chunk(size, chunk, out + size * at)
                else:
                    move(out + size * at, chunk, min(size, left))
                at += 1
            place += 4 * width
    spare[0] = 0                # keeps its memory alive until here


@kernel("fetch.unpack")
def fetch_unpack(dst, src, rows, block):
    row_bytes, size, chunks = csr(block, ROW_BYTES), csr(block, CHUNK_BYTES), csr(block, TABLE_ROWS)
    dst_size = extent(rows, row_bytes, row_bytes)
    if rows == 0 and can_finish(block):
        finish(block, 0, 0, 0, 0, 0)
        result(block, src)
        return DONE
    if dst_size <= 0 or not 1 <= size <= MOST_BYTES or not 1 <= chunks <= MOST_CHUNKS or not can_finish(block):
        return PUNT
    each = (row_bytes + size - 1) // size
    table, table_slot = readable(block, FETCH, csr(block, CHUNK_TABLE), chunks * size, 1)
    host, from_slot = readable(block, FETCH, src, 1, 1)
    target, to_slot = writable(block, FETCH, dst, dst_size, 1)
    if table == 0 or host == 0 or target == 0:
        return PUNT
    room = 0
    while 2 << room <= chunks:
        room += 1
    starts, beyond = np.empty(rows + 1, np.int64), np.zeros(1, np.int64)
    there, wide, wider = find_rows(block, src, rows, each, room, starts)
    if not there:
        return PUNT
    end, longest = starts[rows], i64(0)
    for row in range(rows):
        longest = max(longest, starts[row + 1] - starts[row])
    from_here = end if readable(block, FETCH, src, end + SPARE, 1)[0] != 0 else end - SPARE
    if overlap(target, dst_size, host, end) or overlap(target, dst_size, table, chunks * size):
        return PUNT
    narrow = not wider and room <= BYTE
    if wide and (not in_parallel(block, 2 * end, rows, GRAIN, look_at_rows, host, starts.ctypes.data, from_here, longest, each,
                                 narrow, chunks, beyond.ctypes.data) or beyond[0] != 0):
        return PUNT
    copied = size == 1 or (size == 2 and readable(block, FETCH, csr(block, CHUNK_TABLE), chunks * size + 2, 1)[0] == 0)
    own = np.empty(chunks * size + BYTES if copied else 1, np.uint8)            # a table behind which may be read
    entries = own.ctypes.data if copied else table
    if copied:
        move(entries, table, chunks * size)
    if not in_parallel(block, 2 * dst_size, rows, GRAIN, look_up_rows, host, starts.ctypes.data, from_here, longest, each, narrow,
                       size, entries, chunks, row_bytes, target):
        return PUNT
    pages, runs = 0, 0
    if from_slot == FLASH_READ:
        pages, runs, _at_hand = touched(src, end, load(block + 8 * PAGE_BYTES, np.int64), NO_PAGE)
    count(block, table_slot, chunks * size)
    count(block, from_slot, end)
    count(block, to_slot, dst_size)
    count(block, CHUNKS, rows * each)
    finish(block, 1, end, 1, pages, runs)
    result(block, src + end)
    own[0] = starts[0] = 0      # keeps their memory alive until here
    return DONE
