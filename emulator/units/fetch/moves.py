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
ROWS, ROWS_LEFT, BYTES, BYTES_LEFT, PAGES, PAGE_RUNS, ROW_RUNS = (
    slot(f"fetch.{name}") for name in ("rows", "rows_left", "bytes", "bytes_left", "pages", "page_runs", "row_runs"))
NO_PAGE = -2                # in front of the first page, and not beside it
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
    """(pages to read for a row at flash address `source`, runs of pages that begin with it, the page that is then at hand)."""
    first, last = source // page_bytes, (source + row_bytes - 1) // page_bytes
    return last - first + (1 if first != at_hand else 0), 1 if first != at_hand and first != at_hand + 1 else 0, last


@specialised
def finish(block, rows, row_bytes, row_runs, pages, page_runs):
    """Count what was moved, and signal the tag."""
    count(block, ROWS, rows)
    count(block, BYTES, rows * row_bytes)
    count(block, ROW_RUNS, row_runs)
    if pages != 0:
        count(block, PAGES, pages)
        count(block, PAGE_RUNS, page_runs)
    tag = csr(block, TAG)
    if tag != 0:
        signal(block, tag)


@kernel("fetch.copy", overlap=ANYWHERE)
def fetch_copy(dst, src, src_register, src_read, bytes, block):
    if not can_finish(block):
        return PUNT
    pages, runs, some = 0, 0, 1 if bytes != 0 else 0
    if bytes != 0:
        move(dst, src, bytes)
        if src_read == FLASH_READ:
            pages, runs, _at_hand = touched(src_register, bytes, load(block + 8 * PAGE_BYTES, np.int64), NO_PAGE)
    finish(block, some, bytes, some, pages, runs)
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
    pages, runs, at_hand, page_bytes = 0, 0, NO_PAGE, load(block + 8 * PAGE_BYTES, np.int64)
    for i in range(rows):
        if from_slot == FLASH_READ:
            more, begun, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
            pages += more
            runs += begun
        move(to_host + i * dst_stride, from_host + i * src_stride, row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, min(rows, 1) if src_stride == row_bytes else rows, pages, runs)
    return DONE


# ------------------------------------------------------------------------------------------------ index lists


@inline
def survey(index, rows, row_bytes, stride):
    """Of an index list that is not empty: (smallest, largest, how many different ones if it is rising, else -1, runs of rows of so
    many bytes that lie side by side, by this stride)."""
    list_ = array(index, np.uint32, rows)
    apart = np.uint32(1 if stride == row_bytes else 0)          # from an index to that of its neighbour; 0: no row has one
    if 0 < stride < row_bytes and row_bytes % stride == 0 and row_bytes // stride < 1 << 32:
        apart = np.uint32(row_bytes // stride)
    falls, same, joined = np.uint32(0), np.uint32(0), np.uint32(0)          # 32 bits each: twice as many fit a vector
    for i in range(1, rows):
        before, here = list_[i - 1], list_[i]
        falls, same = np.uint32(falls + (here < before)), np.uint32(same + (here == before))
        joined = np.uint32(joined + ((here > before) & (np.uint32(here - before) == apart)))
    runs = rows - np.int64(joined)
    if falls == 0:                              # as thr.index writes it
        return np.int64(list_[0]), np.int64(list_[rows - 1]), rows - np.int64(same), runs
    low, high = np.uint32(0xFFFF_FFFF), np.uint32(0)
    for i in range(rows):
        low, high = min(low, list_[i]), max(high, list_[i])
    return np.int64(low), np.int64(high), -1, runs


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
    """(flash pages to read for the listed rows, runs of these). The first row has the number `low` and lies at the address
    `first`."""
    list_ = array(index, np.uint32, rows)
    pages, runs, at_hand = 0, 0, NO_PAGE
    if ones(page_bytes) == 1:                   # a division is as long as the move of a short row
        shift = lowest(page_bytes)
        for i in range(rows):
            row = first + (np.int64(list_[i]) - low) * stride
            last = row + row_bytes - 1 >> shift
            pages += last - (row >> shift) + (row >> shift != at_hand)
            runs += np.uint64((row >> shift) - at_hand) > np.uint64(1)
            at_hand = last
        return pages, runs
    for i in range(rows):
        more, begun, at_hand = touched(first + (np.int64(list_[i]) - low) * stride, row_bytes, page_bytes, at_hand)
        pages += more
        runs += begun
    return pages, runs


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
    left, row_runs, pages, page_runs, from_slot = table_rows, 0, 0, 0, to_slot
    if rows != 0:
        low, high, different, row_runs = survey(index, rows, row_bytes, src_stride)
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
            page_bytes = load(block + 8 * PAGE_BYTES, np.int64)
            pages, page_runs = pages_of(first, index, rows, low, src_stride, row_bytes, page_bytes)
        if not in_parallel(block, rows * row_bytes, rows, 1, some_rows, 0, to_host, dst_stride, from_host, src_stride, index, low,
                           row_bytes):
            return PUNT
    count(block, ROWS_LEFT, left)
    count(block, BYTES_LEFT, left * row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, row_runs, pages, page_runs)
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
    row_runs, pages, page_runs, to_slot = 0, 0, 0, from_slot
    if rows != 0:
        low, high, _, row_runs = survey(index, rows, row_bytes, dst_stride)
        dst_size = extent(high - low + 1, row_bytes, dst_stride)
        if (table_rows != 0 and high >= table_rows) or dst_size < 0 or not in_reach(table, low, dst_stride):
            return PUNT
        to_host, to_slot = writable(block, FETCH, table + low * dst_stride, dst_size, 1)
        if to_host == 0 or overlap(from_host, src_size, to_host, dst_size) or overlap(index, 4 * rows, to_host, dst_size):
            return PUNT
        if from_slot == FLASH_READ:
            at_hand, page_bytes = NO_PAGE, load(block + 8 * PAGE_BYTES, np.int64)
            for i in range(rows):
                more, begun, at_hand = touched(src + i * src_stride, row_bytes, page_bytes, at_hand)
                pages += more
                page_runs += begun
        some_rows(0, rows, 1, to_host, dst_stride, from_host, src_stride, index, low, row_bytes)
    count(block, from_slot, rows * row_bytes)
    count(block, to_slot, rows * row_bytes)
    finish(block, rows, row_bytes, row_runs, pages, page_runs)
    return DONE
