"""fetch.unpack: rows of chunks, from packets of numbers of variable width (packets.py).

A number that the table does not have must leave the result as it was. So first the places of all rows are found and, where a width
has room for such a number, numbers are looked at. Then the chunks are looked up. Of packets that nothing changes what was found is
remembered, so from the second time on chunks are looked up at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import (
    COUNTED_ENTRIES,
    COUNTED_TABLE,
    COUNTED_WORDS,
    DONE,
    NOTES,
    NOTES_AT,
    PAGE_BYTES,
    PUNT,
    count,
    csr,
    csr_number,
    is_fixed,
    overlap,
    readable,
    result,
    slot,
    writable,
)
from emulator.native.inlining import inline
from emulator.native.machine_code import atomic_add, load, move, store
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
GRAIN = 8                                   # rows that a thread takes at least, and between two whose places are kept
NEAR = 8                                    # entries that are looked at
KEY = 1 << 10                               # of entries; those of other units have other numbers there

i64 = np.int64


@njit
def head_bytes(each):
    """Bytes of the widths of a row of so many numbers."""
    return ((each + PACKET - 1) // PACKET + 1) >> 1


@njit
def find_rows(block, src, rows, each, room, places):
    """Where every GRAIN-th row begins, bytes behind `src`, to `places`; (where the last one ends, whether a width is above `room`,
    whether one is above eight). An end below 0: the widths do not lie there."""
    head, whole, rest, at = head_bytes(each), each // PACKET, each % PACKET, 0
    wide = wider = False
    for row in range(rows):
        if row % GRAIN == 0:
            store(places + row // GRAIN * 8, i64(at))
        host, _ = readable(block, FETCH, src, at + head, 1)
        if host == 0:
            return -1, wide, wider
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
    return at, wide, wider


@inline
def most_of_row(each):
    """Bytes of a row at most, and those that may be read behind it."""
    return head_bytes(each) + 60 * ((each + PACKET - 1) // PACKET) + SPARE


@inline
def row_at(at, last_byte, each, spare):
    """Address of the row at `at`, behind which SPARE bytes may be read: a row that ends too near to `last_byte` is copied to
    `spare`."""
    if at + most_of_row(each) <= last_byte:
        return at
    head, whole = head_bytes(each), each // PACKET
    size = head + 4 * widths_above(at, whole, 0)[0]
    if each % PACKET > 0:
        size += (each % PACKET * width_of(at, whole) + 7) >> 3
    if at + size + SPARE <= last_byte:
        return at
    move(spare, at, size)
    return spare


@inline
def look_at_rows(first, last, host, places, last_byte, each, narrow, chunks, beyond):
    """Adds 1 to the int64 at `beyond` if one of the rows first..last has a number that is not below `chunks`.

    Numbers alone, as `in_parallel` passes them.
    """
    spare, head, whole, largest = np.empty(most_of_row(each), np.uint8), head_bytes(each), each // PACKET, i64(0)
    at = host + load(places + first // GRAIN * 8, i64)
    for _ in range(first, last):
        widths = row_at(at, last_byte, each, i64(spare.ctypes.data))
        largest = max(largest, largest_of(widths, widths + head, whole, narrow))
        place = widths + head + 4 * widths_above(widths, whole, 0)[0]
        at += place - widths
        if each % PACKET > 0:
            width = width_of(widths, whole)
            for i in range(each % PACKET):
                largest = max(largest, i64(number_at(place, width, i)))
            at += (each % PACKET * width + 7) >> 3
    if largest >= chunks:
        atomic_add(beyond, i64(1))
    spare[0] = 0                # keeps its memory alive until here


@inline
def look_up_rows(first, last, host, places, last_byte, each, narrow, size, table, chunks, row_bytes, target):
    """The chunks of rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    spare, head = np.empty(most_of_row(each), np.uint8), head_bytes(each)
    whole, of_words = row_bytes // size // PACKET, size in WORDS            # packets without a chunk that is cut short
    if not of_words:
        whole = 0
    at = host + load(places + first // GRAIN * 8, i64)
    for row in range(first, last):
        widths, out = row_at(at, last_byte, each, i64(spare.ctypes.data)), target + row * row_bytes
        place, chunk = widths + head, PACKET * whole
        if whole > 0:
            place = looked_up(size, table, chunks, widths, place, whole, narrow, out)
        for packet in range(whole, (each + PACKET - 1) // PACKET):
            width, some = width_of(widths, packet), min(each - PACKET * packet, PACKET)
            for i in range(some):
                found, left = table + size * i64(number_at(place, width, i)), row_bytes - size * chunk
                if left >= size and of_words:
                    put_chunk(size, found, out + size * chunk)
                else:
                    move(out + size * chunk, found, min(size, left))
                chunk += 1
            place += (some * width + 7) >> 3
        at += place - widths
    spare[0] = 0                # keeps its memory alive until here


# ------------------------------------------------------------------------------------------------ remembered

# What is known of packets that nothing changes stands among what emulator/units/lut/counts.py remembers: that all of their numbers
# are below the chunks of the table, and where rows begin. An entry: host address, numbers of a row, rows, chunks, KEY; where the
# last row ends, whether no width is above eight, the host address of the places of every GRAIN-th row.


@njit
def entry_of(block, host, each, rows, chunks):
    """Host address of the entry of these packets, else of one that other packets do not have, if there is one near by."""
    number = ((host >> 4) * 0x9E3779B1 + each * 0x85EBCA6B + rows * 0xC2B2AE35 + chunks * 0x27D4EB2F >> 28) & (COUNTED_ENTRIES - 1)
    first = entry = load(block + 8 * COUNTED_TABLE, i64) + 8 * COUNTED_WORDS * number
    for _ in range(min(NEAR, COUNTED_ENTRIES - number)):
        if is_known(entry, host, each, rows, chunks):
            return entry
        if load(entry + 32, i64) != KEY:
            first = entry
        entry += 8 * COUNTED_WORDS
    return first


@njit
def is_known(entry, host, each, rows, chunks):
    """True if an entry is that of these packets."""
    return (load(entry, i64) == host and load(entry + 8, i64) == each and load(entry + 16, i64) == rows
            and load(entry + 24, i64) == chunks and load(entry + 32, i64) == KEY)


@njit
def remember(block, entry, host, each, rows, chunks, end, narrow, places):
    """Keep what was found in packets that are sound, where there is room for their places."""
    used, words = load(block + 8 * COUNTED_TABLE, i64) + 8 * NOTES_AT, (rows + GRAIN - 1) // GRAIN
    taken = load(used, i64)
    if words > NOTES - taken or not is_fixed(block, host, end):
        return
    kept = used + 8 * (1 + taken)
    move(kept, places, 8 * words)
    store(used, taken + words)
    for i, value in enumerate((host, each, rows, chunks, KEY, end, i64(narrow), kept)):
        store(entry + 8 * i, i64(value))


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
    own_places, beyond = np.empty((rows + GRAIN - 1) // GRAIN, np.int64), np.zeros(1, np.int64)
    places, entry = i64(own_places.ctypes.data), entry_of(block, host, each, rows, chunks)
    known = is_known(entry, host, each, rows, chunks)
    if known:
        end, narrow, wide, places = load(entry + 40, i64), load(entry + 48, i64) != 0, False, load(entry + 56, i64)
    else:
        room = 0
        while 2 << room <= chunks:
            room += 1
        end, wide, wider = find_rows(block, src, rows, each, room, places)
        narrow = not wider and room <= BYTE
    if end < 0 or readable(block, FETCH, src, end, 1)[0] == 0:
        return PUNT
    if overlap(target, dst_size, host, end) or overlap(target, dst_size, table, chunks * size):
        return PUNT
    last_byte = host + end + (SPARE if readable(block, FETCH, src, end + SPARE, 1)[0] != 0 else 0)
    if wide and (not in_parallel(block, 2 * end, rows, GRAIN, look_at_rows, host, places, last_byte, each, narrow, chunks,
                                 beyond.ctypes.data) or beyond[0] != 0):
        return PUNT
    if not known:
        remember(block, entry, host, each, rows, chunks, end, narrow, places)
    copied = size == 1 or (size == 2 and readable(block, FETCH, csr(block, CHUNK_TABLE), chunks * size + 2, 1)[0] == 0)
    own = np.empty(chunks * size + BYTES if copied else 1, np.uint8)            # a table behind which may be read
    entries = i64(own.ctypes.data) if copied else table      # of mixed signs, addresses would be floats
    if copied:
        move(entries, table, chunks * size)
    if not in_parallel(block, 2 * dst_size, rows, GRAIN, look_up_rows, host, places, last_byte, each, narrow, size, entries,
                       chunks, row_bytes, target):
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
    own[0] = own_places[0] = 0  # keeps their memory alive until here
    return DONE
