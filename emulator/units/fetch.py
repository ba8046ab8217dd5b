"""fetch: bytes between memories.

The kernels take the plain case: the rows of each side lie in one region and the two sides do not overlap. All rows of a side
are checked at once, by the range from the first to the last.
"""

from __future__ import annotations

import numpy as np

from emulator.context import DONE, LARGE, PAGE_BYTES, PUNT, count, csr, csr_number, inline, overlap, readable, slot, writable
from emulator.context import PORT as PORTS
from emulator.kernels import kernel
from emulator.machine_code import array, load, move
from emulator.units.sync import can_signal, signal

PORT = PORTS["fetch"]
TAG, ROW_BYTES, SRC_STRIDE, DST_STRIDE, TABLE_ROWS = (
    csr_number(f"fetch.{name}") for name in ("tag", "row_bytes", "src_stride", "dst_stride", "table_rows"))
ROWS, ROWS_LEFT, BYTES, BYTES_LEFT, PAGES = (
    slot(f"fetch.{name}") for name in ("rows", "rows_left", "bytes", "bytes_left", "pages"))
FLASH_READ = slot("flash.bytes_read")
MOST_FLAGS = 1 << 24        # bytes of flags that tell which rows of a table were named


@inline
def can_finish(block):
    """True if the tag to be signalled, if any, is a legal one."""
    tag = csr(block, TAG)
    return tag == 0 or can_signal(block, tag)


@inline
def extent(rows, row_bytes, stride):
    """Bytes from the first row's start to the last row's end; -1 for what no region can hold."""
    if rows == 0:
        return 0
    if rows < 0 or rows > LARGE or row_bytes <= 0 or row_bytes > LARGE:
        return -1
    if rows == 1:
        return row_bytes
    if stride < 0 or stride > LARGE // (rows - 1):
        return -1
    return (rows - 1) * stride + row_bytes


@inline
def stride_or(block, number, row_bytes):
    """A stride; that of packed rows if the CSR is 0."""
    stride = csr(block, number)
    return stride if stride != 0 else row_bytes


@inline
def touched(source, row_bytes, page_bytes, at_hand):
    """(pages to read for a row at flash address `source`, the page that is then at hand)."""
    first, last = source // page_bytes, (source + row_bytes - 1) // page_bytes
    return last - first + (1 if first != at_hand else 0), last


@inline
def finish(block, rows, row_bytes, pages, from_slot, to_slot):
    """Count what was moved, and signal the tag."""
    count(block, ROWS, rows)
    count(block, BYTES, rows * row_bytes)
    count(block, PAGES, pages)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    tag = csr(block, TAG)
    if tag != 0:
        signal(block, tag)


@kernel("fetch.copy")
def fetch_copy(dst, src, size, _, block):
    from_host, from_slot = readable(block, PORT, src, size, 1)
    to_host, to_slot = writable(block, PORT, dst, size, 1)
    if from_host == 0 or to_host == 0 or not can_finish(block):
        return PUNT
    pages = 0
    if size != 0:
        move(to_host, from_host, size)
        if from_slot == FLASH_READ:
            pages, _at_hand = touched(src, size, load(block + 8 * PAGE_BYTES, np.int64), -1)
    finish(block, 1 if size != 0 else 0, size, pages, from_slot, to_slot)
    return DONE


@kernel("fetch.copy2d")
def fetch_copy2d(dst, src, rows, _, block):
    row_bytes = csr(block, ROW_BYTES)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    src_size, dst_size = extent(rows, row_bytes, src_stride), extent(rows, row_bytes, dst_stride)
    from_host, from_slot = readable(block, PORT, src, src_size, 1)
    to_host, to_slot = writable(block, PORT, dst, dst_size, 1)
    if from_host == 0 or to_host == 0 or not can_finish(block) or overlap(from_host, src_size, to_host, dst_size):
        return PUNT
    pages, at_hand, page_bytes = 0, -1, load(block + 8 * PAGE_BYTES, np.int64)
    for i in range(rows):
        if from_slot == FLASH_READ:
            more, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
            pages += more
        move(to_host + i * dst_stride, from_host + i * src_stride, row_bytes)
    finish(block, rows, row_bytes, pages, from_slot, to_slot)
    return DONE


# ------------------------------------------------------------------------------------------------ index lists


@inline
def smallest_and_largest(index, rows):
    """Of an index list that is not empty."""
    low, high = np.uint32(0xFFFF_FFFF), np.uint32(0)
    list_ = array(index, np.uint32, rows)
    for i in range(rows):
        low, high = min(low, list_[i]), max(high, list_[i])
    return np.int64(low), np.int64(high)


@inline
def distinct(index, rows, low, high):
    """How many different numbers an index list has; -1: too far apart for this way of counting."""
    list_ = array(index, np.uint32, rows)
    rising, different = True, 1
    for i in range(1, rows):
        rising = rising and list_[i] >= list_[i - 1]
        different += 1 if list_[i] != list_[i - 1] else 0
    if rising:                                  # as thr.index writes it
        return different
    if high - low >= 8 * MOST_FLAGS:
        return -1
    seen = np.zeros((high - low >> 3) + 1, np.uint8)
    different = 0
    for i in range(rows):
        place = np.int64(list_[i]) - low
        flag = np.uint8(1 << (place & 7))
        if not seen[place >> 3] & flag:
            seen[place >> 3] |= flag
            different += 1
    return different


@kernel("fetch.rows")
def fetch_rows(dst, table, index, rows, block):
    row_bytes, table_rows = csr(block, ROW_BYTES), csr(block, TABLE_ROWS)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    dst_size = extent(rows, row_bytes, dst_stride)
    if dst_size < 0 or table_rows < 0 or not can_finish(block):
        return PUNT
    index_host, index_slot = readable(block, PORT, index, 4 * rows, 4)
    to_host, to_slot = writable(block, PORT, dst, dst_size, 1)
    if index_host == 0 or to_host == 0 or overlap(index_host, 4 * rows, to_host, dst_size):
        return PUNT
    left, pages, from_slot = table_rows, 0, to_slot
    if rows != 0:
        low, high = smallest_and_largest(index_host, rows)
        src_size = extent(high - low + 1, row_bytes, src_stride)
        if (table_rows != 0 and high >= table_rows) or src_size < 0 or (low != 0 and src_stride > LARGE):
            return PUNT
        first = table + low * src_stride
        from_host, from_slot = readable(block, PORT, first, src_size, 1)
        if from_host == 0 or overlap(from_host, src_size, to_host, dst_size):
            return PUNT
        if table_rows != 0:
            different = distinct(index_host, rows, low, high)
            if different < 0:
                return PUNT
            left = table_rows - different
        list_ = array(index_host, np.uint32, rows)
        at_hand, page_bytes = -1, load(block + 8 * PAGE_BYTES, np.int64)
        for i in range(rows):
            offset = (np.int64(list_[i]) - low) * src_stride
            if from_slot == FLASH_READ:
                more, at_hand = touched(first + offset, row_bytes, page_bytes, at_hand)
                pages += more
            move(to_host + i * dst_stride, from_host + offset, row_bytes)
    count(block, index_slot, 4 * rows)
    count(block, ROWS_LEFT, left)
    count(block, BYTES_LEFT, left * row_bytes)
    finish(block, rows, row_bytes, pages, from_slot, to_slot)
    return DONE


@kernel("fetch.scatter")
def fetch_scatter(table, src, index, rows, block):
    row_bytes, table_rows = csr(block, ROW_BYTES), csr(block, TABLE_ROWS)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    src_size = extent(rows, row_bytes, src_stride)
    if src_size < 0 or table_rows < 0 or not can_finish(block):
        return PUNT
    index_host, index_slot = readable(block, PORT, index, 4 * rows, 4)
    from_host, from_slot = readable(block, PORT, src, src_size, 1)
    if index_host == 0 or from_host == 0:
        return PUNT
    pages, to_slot = 0, from_slot
    if rows != 0:
        low, high = smallest_and_largest(index_host, rows)
        dst_size = extent(high - low + 1, row_bytes, dst_stride)
        if (table_rows != 0 and high >= table_rows) or dst_size < 0 or (low != 0 and dst_stride > LARGE):
            return PUNT
        to_host, to_slot = writable(block, PORT, table + low * dst_stride, dst_size, 1)
        if to_host == 0 or overlap(from_host, src_size, to_host, dst_size) or overlap(index_host, 4 * rows, to_host, dst_size):
            return PUNT
        list_ = array(index_host, np.uint32, rows)
        at_hand, page_bytes = -1, load(block + 8 * PAGE_BYTES, np.int64)
        for i in range(rows):
            if from_slot == FLASH_READ:
                more, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
                pages += more
            move(to_host + (np.int64(list_[i]) - low) * dst_stride, from_host + i * src_stride, row_bytes)
    count(block, index_slot, 4 * rows)
    finish(block, rows, row_bytes, pages, from_slot, to_slot)
    return DONE
