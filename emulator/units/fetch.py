"""fetch: bytes between memories.

The kernels do the plain case: the rows of each side lie in one region, and the two sides do not overlap. All rows of a side are
checked at once, by the range from the first to the last.

Moving the rows of a list and counting are two loops. Each row lies somewhere else, so later rows are asked of memory while one is
moved. Elements of one or four bytes are moved without a call of the C library's memmove.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import ANYWHERE, kernel
from emulator.kernel_words import DONE, LARGE, PAGE_BYTES, PORT, PUNT, count, csr, csr_number, overlap, readable, slot, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import array, load, lowest, move, ones, store
from emulator.simd.lanes import ask_for, put, take
from emulator.threads.parallel import in_parallel
from emulator.units.sync import can_signal, signal

FETCH = PORT["fetch"]
TAG, ROW_BYTES, SRC_STRIDE, DST_STRIDE, TABLE_ROWS = (
    csr_number(f"fetch.{name}") for name in ("tag", "row_bytes", "src_stride", "dst_stride", "table_rows"))
ROWS, ROWS_LEFT, BYTES, BYTES_LEFT, PAGES = (
    slot(f"fetch.{name}") for name in ("rows", "rows_left", "bytes", "bytes_left", "pages"))
FLASH_READ = slot("flash.bytes_read")
MOST_FLAGS = 1 << 24        # bytes of flags that tell which rows of a table were named
LINE = 64                   # bytes that are moved at once
AHEAD = 1 << 10             # bytes of rows that are asked for before they are moved


@specialised
def can_finish(block):
    """True if the tag to be signalled, if any, is a legal one."""
    tag = csr(block, TAG)
    return tag == 0 or can_signal(block, tag)


@specialised
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


@specialised
def stride_or(block, number, row_bytes):
    """A stride; that of packed rows if the CSR is 0."""
    stride = csr(block, number)
    return stride if stride != 0 else row_bytes


@specialised
def rows_apart(rows, row_bytes, stride):
    """True if rows that may not overlap do not. A stride of 2**63 or more is left to the meaning."""
    return rows == 0 or stride >= row_bytes


@specialised
def in_reach(table, row, stride):
    """True if the address of a row of a table is a sum that stays within 64 bits."""
    return row == 0 or (table >= 0 and stride >= 0 and stride <= LARGE // row)


@specialised
def touched(source, row_bytes, page_bytes, at_hand):
    """(pages to read for a row at flash address `source`, the page that is then at hand)."""
    first, last = source // page_bytes, (source + row_bytes - 1) // page_bytes
    return last - first + (1 if first != at_hand else 0), last


@specialised
def finish(block, rows, row_bytes, pages):
    """Count what was moved, and signal the tag."""
    count(block, ROWS, rows)
    count(block, BYTES, rows * row_bytes)
    count(block, PAGES, pages)
    tag = csr(block, TAG)
    if tag != 0:
        signal(block, tag)


@kernel("fetch.copy", overlap=ANYWHERE)
def fetch_copy(dst, src, src_register, src_read, bytes, block):
    if not can_finish(block):
        return PUNT
    pages = 0
    if bytes != 0:
        move(dst, src, bytes)
        if src_read == FLASH_READ:
            pages, _at_hand = touched(src_register, bytes, load(block + 8 * PAGE_BYTES, np.int64), -1)
    finish(block, 1 if bytes != 0 else 0, bytes, pages)
    return DONE


@kernel("fetch.copy2d")
def fetch_copy2d(dst, src, rows, block):
    row_bytes = csr(block, ROW_BYTES)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    src_size, dst_size = extent(rows, row_bytes, src_stride), extent(rows, row_bytes, dst_stride)
    from_host, from_slot = readable(block, FETCH, src, src_size, 1)
    to_host, to_slot = writable(block, FETCH, dst, dst_size, 1)
    if not rows_apart(rows, row_bytes, dst_stride) or from_host == 0 or to_host == 0:
        return PUNT
    if not can_finish(block) or overlap(from_host, src_size, to_host, dst_size):
        return PUNT
    pages, at_hand, page_bytes = 0, -1, load(block + 8 * PAGE_BYTES, np.int64)
    for i in range(rows):
        if from_slot == FLASH_READ:
            more, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
            pages += more
        move(to_host + i * dst_stride, from_host + i * src_stride, row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, pages)
    return DONE


# ------------------------------------------------------------------------------------------------ index lists


@inline
def survey(index, rows):
    """(smallest, largest, how many different ones if it is rising, else -1) of an index list that is not empty."""
    list_ = array(index, np.uint32, rows)
    falls, different = 0, 1
    for i in range(1, rows):
        falls += list_[i] < list_[i - 1]
        different += list_[i] != list_[i - 1]
    if falls == 0:                              # as thr.index writes it
        return np.int64(list_[0]), np.int64(list_[rows - 1]), different
    low, high = np.uint32(0xFFFF_FFFF), np.uint32(0)
    for i in range(rows):
        low, high = min(low, list_[i]), max(high, list_[i])
    return np.int64(low), np.int64(high), -1


@njit
def distinct(index, rows, low, high):
    """How many different numbers an index list has; -1: too far apart for this way of counting."""
    if high - low >= 8 * MOST_FLAGS:
        return -1
    list_ = array(index, np.uint32, rows)
    seen = np.zeros((high - low >> 3) + 1, np.uint8)
    different = 0
    for i in range(rows):
        place = np.int64(list_[i]) - low
        flag = np.uint8(1 << (place & 7))
        if not seen[place >> 3] & flag:
            seen[place >> 3] |= flag
            different += 1
    return different


@inline
def pages_of(first, index, rows, low, stride, row_bytes, page_bytes):
    """Flash pages to read for the listed rows. The first row has the number `low` and lies at the address `first`."""
    list_ = array(index, np.uint32, rows)
    pages, at_hand = 0, -1
    if ones(page_bytes) == 1:                   # a division is as long as the move of a short row
        shift = lowest(page_bytes)
        for i in range(rows):
            row = first + (np.int64(list_[i]) - low) * stride
            last = row + row_bytes - 1 >> shift
            pages += last - (row >> shift) + (row >> shift != at_hand)
            at_hand = last
        return pages
    for i in range(rows):
        more, at_hand = touched(first + (np.int64(list_[i]) - low) * stride, row_bytes, page_bytes, at_hand)
        pages += more
    return pages


@inline
def some_rows(first, last, scatters, to, to_stride, source, stride, index, low, row_bytes):
    """Move rows first..last of a list, in its order: to their places, the row `low` at `to`, or from them, that row at `source`.

    Numbers alone, as `in_parallel` passes them.
    """
    list_, ahead = array(index, np.uint32, last), AHEAD // row_bytes + 1
    for i in range(first, last):
        number = np.int64(list_[i]) - low
        target = to + (number if scatters else i) * to_stride
        row = source + (i if scatters else number) * stride
        if row_bytes == 4:
            store(target, load(row, np.uint32))
        elif row_bytes == 1:
            store(target, load(row, np.uint8))
        elif row_bytes < LINE:
            move(target, row, row_bytes)
        else:
            later = i + ahead if scatters else np.int64(list_[min(i + ahead, last - 1)]) - low
            asked = source + later * stride
            for at in range(0, row_bytes - LINE, LINE):
                ask_for(asked + at)
                put(target + at, take(row + at, np.uint32))
            ask_for(asked + row_bytes - LINE)
            put(target + row_bytes - LINE, take(row + row_bytes - LINE, np.uint32))


@kernel("fetch.rows")
def fetch_rows(dst, table, index, count, block):
    return gather(dst, table, index, count, block)


@inline
def gather(dst, table, index, rows, block):
    """Rows of a table, by a list of their numbers, to places that follow each other."""
    row_bytes, table_rows = csr(block, ROW_BYTES), csr(block, TABLE_ROWS)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    dst_size = extent(rows, row_bytes, dst_stride)
    if not rows_apart(rows, row_bytes, dst_stride) or dst_size < 0 or table_rows < 0 or not can_finish(block):
        return PUNT
    to_host, to_slot = writable(block, FETCH, dst, dst_size, 1)
    if to_host == 0 or overlap(index, 4 * rows, to_host, dst_size):
        return PUNT
    left, pages, from_slot = table_rows, 0, to_slot
    if rows != 0:
        low, high, different = survey(index, rows)
        src_size = extent(high - low + 1, row_bytes, src_stride)
        if (table_rows != 0 and high >= table_rows) or src_size < 0 or not in_reach(table, low, src_stride):
            return PUNT
        first = table + low * src_stride
        from_host, from_slot = readable(block, FETCH, first, src_size, 1)
        if from_host == 0 or overlap(from_host, src_size, to_host, dst_size):
            return PUNT
        if table_rows != 0:
            if different < 0:
                different = distinct(index, rows, low, high)
            if different < 0:
                return PUNT
            left = table_rows - different
        if from_slot == FLASH_READ:
            pages = pages_of(first, index, rows, low, src_stride, row_bytes, load(block + 8 * PAGE_BYTES, np.int64))
        if not in_parallel(block, rows * row_bytes, rows, 1, some_rows, 0, to_host, dst_stride, from_host, src_stride, index, low,
                           row_bytes):
            return PUNT
    count(block, ROWS_LEFT, left)
    count(block, BYTES_LEFT, left * row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, pages)
    return DONE


@kernel("fetch.scatter")
def fetch_scatter(table, src, index, count, block):
    return scatter(table, src, index, count, block)


@inline
def scatter(table, src, index, rows, block):
    """Rows that follow each other, to those of a table, by a list of their numbers."""
    row_bytes, table_rows = csr(block, ROW_BYTES), csr(block, TABLE_ROWS)
    src_stride, dst_stride = stride_or(block, SRC_STRIDE, row_bytes), stride_or(block, DST_STRIDE, row_bytes)
    src_size = extent(rows, row_bytes, src_stride)
    if not rows_apart(rows, row_bytes, src_stride) or not rows_apart(rows, row_bytes, dst_stride):
        return PUNT
    if src_size < 0 or table_rows < 0 or not can_finish(block):
        return PUNT
    from_host, from_slot = readable(block, FETCH, src, src_size, 1)
    if from_host == 0:
        return PUNT
    pages, to_slot = 0, from_slot
    if rows != 0:
        low, high, _ = survey(index, rows)
        dst_size = extent(high - low + 1, row_bytes, dst_stride)
        if (table_rows != 0 and high >= table_rows) or dst_size < 0 or not in_reach(table, low, dst_stride):
            return PUNT
        to_host, to_slot = writable(block, FETCH, table + low * dst_stride, dst_size, 1)
        if to_host == 0 or overlap(from_host, src_size, to_host, dst_size) or overlap(index, 4 * rows, to_host, dst_size):
            return PUNT
        if from_slot == FLASH_READ:
            at_hand, page_bytes = -1, load(block + 8 * PAGE_BYTES, np.int64)
            for i in range(rows):
                more, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
                pages += more
        some_rows(0, rows, 1, to_host, dst_stride, from_host, src_stride, index, low, row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, pages)
    return DONE
