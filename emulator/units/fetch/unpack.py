"""fetch.unpack: rows of chunks, from packets of numbers of variable width.

The numbers are unpacked first, of all rows, because one that the table does not have must leave the result as it was. Then the
chunks are looked up.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PAGE_BYTES, PUNT, count, csr, csr_number, overlap, readable, result, slot, writable
from emulator.native.inlining import inline
from emulator.native.machine_code import load, move, store
from emulator.units.fetch.moves import FETCH, FLASH_READ, NO_PAGE, ROW_BYTES, TABLE_ROWS, can_finish, extent, finish, touched

CHUNK_TABLE, CHUNK_BYTES, CHUNKS = csr_number("fetch.chunk_table"), csr_number("fetch.chunk_bytes"), slot("fetch.chunks")
PACKET = 32                 # numbers of chunks that share a width
MOST_BYTES, MOST_CHUNKS = 16, 1 << 15       # of a chunk; of their table
MOST_NUMBERS = 1 << 24      # that are unpacked at once
SPARE = 8                   # bytes behind a packet that may be read with it


@njit
def packet_bytes(widths, packet, rest):
    """(width, bytes) of a packet of a row, whose widths lie at `widths`; `rest`: numbers of the row from it on."""
    width = np.int64(load(widths + (packet >> 1), np.uint8) >> np.uint8(4 * (packet & 1)) & np.uint8(15))
    return width, (min(rest, PACKET) * width + 7) >> 3


@inline
def unpack_packet(place, width, rest, numbers):
    """Put the numbers of a packet to u16 at `numbers`, and return their maximum. Reads up to three bytes behind it."""
    mask, largest = np.uint32((1 << width) - 1), np.uint32(0)
    for i in range(min(rest, PACKET)):
        bit = i * width
        number = load(place + (bit >> 3), np.uint32) >> np.uint32(bit & 7) & mask
        store(numbers + 2 * i, np.uint16(number))
        largest = max(largest, number)
    return largest


@njit
def unpack_row(block, src, at, each, numbers, spare):
    """Unpack the `each` numbers of a row whose stream begins `at` bytes behind `src`. Returns (bytes up to its end, the largest
    number); (-1, 0) where the stream does not lie there. `spare`: room for a packet."""
    packets = (each + PACKET - 1) // PACKET
    head = (packets + 1) >> 1
    host, _ = readable(block, FETCH, src, at + head, 1)
    if host == 0:
        return -1, np.uint32(0)
    place, largest, widths = host + at + head, np.uint32(0), host + at
    for packet in range(packets):
        rest = each - packet * PACKET
        _, size = packet_bytes(widths, packet, rest)
        place += size
    end = place - host
    host, _ = readable(block, FETCH, src, end, 1)
    if host == 0:
        return -1, np.uint32(0)
    behind, _ = readable(block, FETCH, src, end + SPARE, 1)
    place = host + at + head
    for packet in range(packets):
        rest = each - packet * PACKET
        width, size = packet_bytes(widths, packet, rest)
        source = place
        if behind == 0:
            source = spare
            if size > 0:
                move(spare, place, size)
        largest = max(largest, unpack_packet(source, width, rest, numbers + 2 * packet * PACKET))
        place += size
    return end, largest


@inline
def look_up(table, size, numbers, each, row_bytes, target):
    """Put a row together from its chunks."""
    whole = row_bytes // size
    if size == 1:
        for i in range(whole):
            store(target + i, load(table + np.int64(load(numbers + 2 * i, np.uint16)), np.uint8))
    elif size == 2:
        for i in range(whole):
            store(target + 2 * i, load(table + 2 * np.int64(load(numbers + 2 * i, np.uint16)), np.uint16))
    elif size == 4:
        for i in range(whole):
            store(target + 4 * i, load(table + 4 * np.int64(load(numbers + 2 * i, np.uint16)), np.uint32))
    elif size == 8:
        for i in range(whole):
            store(target + 8 * i, load(table + 8 * np.int64(load(numbers + 2 * i, np.uint16)), np.uint64))
    else:
        for i in range(whole):
            move(target + size * i, table + size * np.int64(load(numbers + 2 * i, np.uint16)), size)
    if whole < each:
        move(target + size * whole, table + size * np.int64(load(numbers + 2 * whole, np.uint16)), row_bytes - size * whole)


@kernel("fetch.unpack")
def fetch_unpack(dst, src, rows, block):
    row_bytes, size, chunks = csr(block, ROW_BYTES), csr(block, CHUNK_BYTES), csr(block, TABLE_ROWS)
    dst_size = extent(rows, row_bytes, row_bytes)
    if rows == 0 or dst_size < 0 or not 1 <= size <= MOST_BYTES or not 1 <= chunks <= MOST_CHUNKS or not can_finish(block):
        return PUNT
    each = (row_bytes + size - 1) // size
    table, table_slot = readable(block, FETCH, csr(block, CHUNK_TABLE), chunks * size, 1)
    host, from_slot = readable(block, FETCH, src, 1, 1)
    target, to_slot = writable(block, FETCH, dst, dst_size, 1)
    if table == 0 or host == 0 or target == 0 or rows * each > MOST_NUMBERS:
        return PUNT
    numbers, spare, largest, end = np.empty(rows * each, np.uint16), np.empty(16 * SPARE, np.uint8), np.uint32(0), 0
    for row in range(rows):
        end, most = unpack_row(block, src, end, each, numbers.ctypes.data + 2 * row * each, spare.ctypes.data)
        largest = max(largest, most)
        if end < 0 or np.int64(largest) >= chunks:
            return PUNT
    if overlap(target, dst_size, host, end) or overlap(target, dst_size, table, chunks * size):
        return PUNT
    for row in range(rows):
        look_up(table, size, numbers.ctypes.data + 2 * row * each, each, row_bytes, target + row * row_bytes)
    pages, runs = 0, 0
    if from_slot == FLASH_READ:
        pages, runs, _at_hand = touched(src, end, load(block + 8 * PAGE_BYTES, np.int64), NO_PAGE)
    count(block, table_slot, chunks * size)
    count(block, from_slot, end)
    count(block, to_slot, dst_size)
    count(block, CHUNKS, rows * each)
    finish(block, 1, end, 1, pages, runs)
    result(block, src + end)
    numbers[0] = spare[0]       # keeps their memory alive until here
    return DONE
