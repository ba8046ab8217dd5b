"""Level 3: macro forms, runs of columns in the banks of all selected channels. MACs are taken four banks at a time."""

from __future__ import annotations

import numpy as np

from emulator.banks import (
    O_BANK_GROUPS,
    O_BANKS,
    O_CHANNELS,
    O_COLUMNS,
    O_ROWS,
    PORT,
    all_in_mode,
    banks_to_read,
    banks_to_write,
    column_offset,
    is_selected,
    open_row,
    organisation,
    selected,
)
from emulator.context import (
    DONE,
    LARGE,
    PUNT,
    STATE_INDEX,
    count,
    csr,
    csr_number,
    inline,
    leaf,
    overlap,
    readable,
    slot,
    state,
    writable,
)
from emulator.kernels import kernel
from emulator.lanes import convert, put, put_part, spread, take, where
from emulator.machine_code import load, move, store
from emulator.pim_macs import BF16, COLUMN, F16, I8, READY, bits, macs_of_four, numbers, prepare, sums_of_four
from emulator.recipes import NAN
from emulator.threads import in_parallel
from isa.half import TABLE_LENGTH
from isa.units.pim.macros import TABLES
from isa.units.pim.state import SB

f32, i32, u8, u16, u32 = np.float32, np.int32, np.uint8, np.uint16, np.uint32
FIRST, FIRST_OF_BUFFER = csr_number("pim.column"), csr_number("pim.buffer_column")
BUFFER, ACCUMULATORS, AF_TABLES, AF_RESULTS = (STATE_INDEX[f"pim.{name}"] for name in (
    "global_buffer", "accumulators", "af_tables", "af_results"))
READS, WRITES, COMPUTES, COLUMNS_READ, COLUMNS_WRITTEN, MACS, ELEMENTS, BROADCASTS, READOUTS, SET, STAYED, LEFT, ENTERED = (
    slot(f"pim.{name}") for name in (
        "read_commands", "write_commands", "compute_commands", "columns_read", "columns_written", "macs", "elements", "broadcasts",
        "readouts", "accumulators_set", "bytes_stayed", "bytes_left", "bytes_entered"))
WORDS_EACH = 16 * 4         # bytes of the accumulators of a bank


# ------------------------------------------------------------------------------------------------ runs


@leaf
def fits(block, first, opsize):
    """True if a run lies in a row."""
    columns = organisation(block, O_COLUMNS)
    return 0 <= first < columns and 1 <= opsize <= columns - first


@inline
def channels_for(block, row):
    """How many channels a form works on; 0: punt."""
    if not 0 <= row < organisation(block, O_ROWS) or not all_in_mode(block, SB, SB):
        return 0
    return selected(block)


@leaf
def buffer_place(block, channel, column):
    """Host address of a column of a channel's global buffer."""
    return state(block, BUFFER) + COLUMN * (channel * organisation(block, O_COLUMNS) + column)


@leaf
def accumulator_place(block, channel, bank):
    return state(block, ACCUMULATORS) + WORDS_EACH * (channel * organisation(block, O_BANKS) + bank)


@leaf
def bursts(size):
    """Bursts of 32 bytes."""
    return (size + COLUMN - 1) // COLUMN


# ------------------------------------------------------------------------------------------------ banks and buffers


@inline
def write_column(x, row, first, end, block):
    """A column of these banks of every channel = 32 bytes of memory."""
    column = csr(block, FIRST)
    channels = channels_for(block, row)
    source, reads = readable(block, PORT, x, COLUMN, 1)
    host = banks_to_write(block)
    if channels == 0 or not fits(block, column, 1) or source == 0 or host == 0:
        return PUNT
    data = take(source, u16)
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end):
                put(host + column_offset(block, channel, bank, row, column), data)
    open_row(block, first, 1, end, row)
    count(block, reads, COLUMN)
    count(block, WRITES, channels)
    count(block, COLUMNS_WRITTEN, channels * (end - first))
    count(block, ENTERED, channels * COLUMN)
    return DONE


@kernel("pim.wr_sbk")
def pim_wr_sbk(x, bank, row, _, block):
    if not 0 <= bank < organisation(block, O_BANKS):
        return PUNT
    return write_column(x, row, bank, bank + 1, block)


@kernel("pim.wr_abk")
def pim_wr_abk(x, row, _2, _3, block):
    return write_column(x, row, 0, organisation(block, O_BANKS), block)


@kernel("pim.rd_sbk")
def pim_rd_sbk(dst, bank, row, _, block):
    column = csr(block, FIRST)
    channels = channels_for(block, row)
    host = banks_to_read(block)
    if channels == 0 or not fits(block, column, 1) or not 0 <= bank < organisation(block, O_BANKS) or host == 0:
        return PUNT
    target, writes = writable(block, PORT, dst, channels * COLUMN, 1)
    if target == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            source = host + column_offset(block, channel, bank, row, column)
            if overlap(source, COLUMN, target, channels * COLUMN):
                return PUNT
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            put(place, take(host + column_offset(block, channel, bank, row, column), u16))
            place += COLUMN
    open_row(block, bank, 1, bank + 1, row)
    count(block, writes, channels * COLUMN)
    count(block, READS, channels)
    count(block, COLUMNS_READ, channels)
    count(block, LEFT, channels * COLUMN)
    return DONE


@kernel("pim.wr_gb")
def pim_wr_gb(x, opsize, _2, _3, block):
    column = csr(block, FIRST_OF_BUFFER)
    channels = selected(block)
    if channels == 0 or not fits(block, column, opsize):
        return PUNT
    source, reads = readable(block, PORT, x, COLUMN * opsize, 1)
    if source == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            move(buffer_place(block, channel, column), source, COLUMN * opsize)
    count(block, reads, COLUMN * opsize)
    count(block, BROADCASTS, channels * opsize)
    count(block, WRITES, channels * opsize)
    count(block, ENTERED, channels * opsize * COLUMN)
    return DONE


@inline
def copy(opsize, bank, row, to_buffer, block):
    """A run of a bank goes to the global buffer, or back, in every channel."""
    first, column = csr(block, FIRST), csr(block, FIRST_OF_BUFFER)
    channels = channels_for(block, row)
    if channels == 0 or not fits(block, first, opsize) or not fits(block, column, opsize):
        return PUNT
    host = banks_to_read(block) if to_buffer else banks_to_write(block)
    if not 0 <= bank < organisation(block, O_BANKS) or host == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for i in range(opsize):
                there = host + column_offset(block, channel, bank, row, first + i)
                place = buffer_place(block, channel, column + i)
                if to_buffer:
                    put(place, take(there, u16))
                else:
                    put(there, take(place, u16))
    open_row(block, bank, 1, bank + 1, row)
    count(block, READS if to_buffer else WRITES, channels * opsize)
    count(block, COLUMNS_READ if to_buffer else COLUMNS_WRITTEN, channels * opsize)
    count(block, STAYED, channels * opsize * COLUMN)
    return DONE


@kernel("pim.copy_bkgb")
def pim_copy_bkgb(opsize, bank, row, _, block):
    return copy(opsize, bank, row, True, block)


@kernel("pim.copy_gbbk")
def pim_copy_gbbk(opsize, bank, row, _, block):
    return copy(opsize, bank, row, False, block)


# ------------------------------------------------------------------------------------------------ multiply-accumulate


@leaf
def run_place(block, host, channel, bank, row, first, n, apart, room):
    """Host address of a bank's run; if its columns lie apart, they are copied to `room`."""
    if not apart:
        return host + column_offset(block, channel, bank, row, first)
    for i in range(n):
        put(room + COLUMN * i, take(host + column_offset(block, channel, bank, row, first + i), u16))
    return room


@leaf
def some_macs(begin, stop, form, block, host, groups, first_bank, last_bank, row, first, column, n, apart):
    """The MACs of four banks each: unit number channel * groups + group, those of other channels left out. Banks behind the last
    one are the last one once more."""
    scratch = np.empty(64 + READY * (n + 1) + (4 * COLUMN * n if apart else 0), np.uint8)
    x = (scratch.ctypes.data + 63) & -64
    room = x + READY * (n + 1)
    ready, excess = -1, i32(0)
    for unit in range(begin, stop):
        channel, group = unit // groups, unit % groups
        if not is_selected(block, channel):
            continue
        if channel != ready:
            ready, excess = channel, prepare(form, buffer_place(block, channel, column), n, x)
        b0 = first_bank + 4 * group
        b1, b2, b3 = min(b0 + 1, last_bank), min(b0 + 2, last_bank), min(b0 + 3, last_bank)
        w0 = run_place(block, host, channel, b0, row, first, n, apart, room)
        w1 = run_place(block, host, channel, b1, row, first, n, apart, room + COLUMN * n)
        w2 = run_place(block, host, channel, b2, row, first, n, apart, room + 2 * COLUMN * n)
        w3 = run_place(block, host, channel, b3, row, first, n, apart, room + 3 * COLUMN * n)
        following = min(unit + 1, stop - 1)
        channel, group = following // groups, following % groups
        f0 = first_bank + 4 * group
        f1, f2, f3 = min(f0 + 1, last_bank), min(f0 + 2, last_bank), min(f0 + 3, last_bank)
        next0 = host + column_offset(block, channel, f0, row, first)
        next1 = host + column_offset(block, channel, f1, row, first)
        next2 = host + column_offset(block, channel, f2, row, first)
        next3 = host + column_offset(block, channel, f3, row, first)
        macs_of_four(form, (w0, w1, w2, w3), (next0, next1, next2, next3), n, x, excess,
                     (accumulator_place(block, ready, b0), accumulator_place(block, ready, b1),
                      accumulator_place(block, ready, b2), accumulator_place(block, ready, b3)))
    scratch[0] = 0              # used to here: its address was


@inline
def mac(form, opsize, row, first_bank, end, block):
    """Every bank of first_bank..end multiplies its run with that of its channel's global buffer."""
    first, column = csr(block, FIRST), csr(block, FIRST_OF_BUFFER)
    channels = channels_for(block, row)
    host = banks_to_read(block)
    if channels == 0 or host == 0 or not fits(block, first, opsize) or not fits(block, column, opsize):
        return PUNT
    last = first + opsize - 1
    apart = column_offset(block, 0, 0, 0, last) - column_offset(block, 0, 0, 0, first) != COLUMN * (opsize - 1)
    groups, columns = (end - first_bank + 3) >> 2, channels * (end - first_bank) * opsize
    if not in_parallel(block, columns * COLUMN, organisation(block, O_CHANNELS) * groups, 1, some_macs, form, block, host, groups,
                       first_bank, end - 1, row, first, column, opsize, apart):
        return PUNT
    open_row(block, first_bank, 1, end, row)
    count(block, COMPUTES, channels * opsize)
    count(block, COLUMNS_READ, columns)
    count(block, MACS, columns * (32 if form == I8 else 16))
    count(block, STAYED, columns * COLUMN)
    return DONE


@inline
def mac_of_one(form, opsize, bank, row, block):
    return mac(form, opsize, row, bank, bank + 1, block) if 0 <= bank < organisation(block, O_BANKS) else PUNT


@kernel("pim.mac_sbk.f16")
def pim_mac_sbk_f16(opsize, bank, row, _, block):
    return mac_of_one(F16, opsize, bank, row, block)


@kernel("pim.mac_sbk.bf16")
def pim_mac_sbk_bf16(opsize, bank, row, _, block):
    return mac_of_one(BF16, opsize, bank, row, block)


@kernel("pim.mac_sbk.i8")
def pim_mac_sbk_i8(opsize, bank, row, _, block):
    return mac_of_one(I8, opsize, bank, row, block)


@kernel("pim.mac_abk.f16")
def pim_mac_abk_f16(opsize, row, _2, _3, block):
    return mac(F16, opsize, row, 0, organisation(block, O_BANKS), block)


@kernel("pim.mac_abk.bf16")
def pim_mac_abk_bf16(opsize, row, _2, _3, block):
    return mac(BF16, opsize, row, 0, organisation(block, O_BANKS), block)


@kernel("pim.mac_abk.i8")
def pim_mac_abk_i8(opsize, row, _2, _3, block):
    return mac(I8, opsize, row, 0, organisation(block, O_BANKS), block)


# ------------------------------------------------------------------------------------------------ accumulators


@inline
def set_biases(form, bias, block):
    """Accumulator 0 of each bank from memory, the others 0."""
    channels, banks, size = selected(block), organisation(block, O_BANKS), 4 if form == I8 else 2
    if channels == 0:
        return PUNT
    source, reads = readable(block, PORT, bias, channels * banks * size, size)
    if source == 0:
        return PUNT
    place = source
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(banks):
                acc = accumulator_place(block, channel, bank)
                put(acc, spread(i32(0)))
                if form == I8:
                    store(acc, load(place, i32))
                elif form == F16:
                    store(acc, u32(load(place, u16)))
                else:
                    store(acc, canonical_bf16(load(place, u16)))
                place += size
    count(block, reads, channels * banks * size)
    count(block, SET, channels * banks)
    count(block, WRITES, channels * bursts(banks * size))
    count(block, ENTERED, channels * banks * size)
    return DONE


@leaf
def canonical_bf16(number):
    """The fp32 bits of a bf16 number."""
    return u32(0x7FC0_0000) if number & u16(0x7FFF) > u16(0x7F80) else u32(number) << u32(16)


@kernel("pim.wr_bias.f16")
def pim_wr_bias_f16(bias, _1, _2, _3, block):
    return set_biases(F16, bias, block)


@kernel("pim.wr_bias.bf16")
def pim_wr_bias_bf16(bias, _1, _2, _3, block):
    return set_biases(BF16, bias, block)


@kernel("pim.wr_bias.i8")
def pim_wr_bias_i8(bias, _1, _2, _3, block):
    return set_biases(I8, bias, block)


@leaf
def sums(form, block, channel, bank, banks):
    """What the accumulators of a bank and the three behind it fold to, as 16-bit numbers in lanes 0 to 3."""
    first, last = accumulator_place(block, channel, bank), accumulator_place(block, channel, banks - 1)
    return bits(form, sums_of_four(form, first, min(first + WORDS_EACH, last), min(first + 2 * WORDS_EACH, last),
                                   min(first + 3 * WORDS_EACH, last)))


@inline
def read_out(form, dst, block):
    channels, banks, size = selected(block), organisation(block, O_BANKS), 4 if form == I8 else 2
    if channels == 0:
        return PUNT
    target, writes = writable(block, PORT, dst, channels * banks * size, size)
    if target == 0:
        return PUNT
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            if form == I8:
                for bank in range(banks):
                    store(place + 4 * bank, load(accumulator_place(block, channel, bank), i32))
            else:
                for bank in range(0, banks, 4):
                    put_part(place + 2 * bank, sums(form, block, channel, bank, banks), min(banks - bank, 4))
            place += banks * size
    count(block, writes, channels * banks * size)
    count(block, READOUTS, channels * banks)
    count(block, READS, channels * bursts(banks * size))
    count(block, LEFT, channels * banks * size)
    return DONE


@kernel("pim.rd_mac.f16")
def pim_rd_mac_f16(dst, _1, _2, _3, block):
    return read_out(F16, dst, block)


@kernel("pim.rd_mac.bf16")
def pim_rd_mac_bf16(dst, _1, _2, _3, block):
    return read_out(BF16, dst, block)


@kernel("pim.rd_mac.i8")
def pim_rd_mac_i8(dst, _1, _2, _3, block):
    return read_out(I8, dst, block)


# ------------------------------------------------------------------------------------------------ activation


@kernel("pim.wr_aflut")
def pim_wr_aflut(table, mode, _2, _3, block):
    source, reads = readable(block, PORT, table, 2 * TABLE_LENGTH, 1)
    if source == 0 or not 0 <= mode < TABLES:
        return PUNT
    move(state(block, AF_TABLES) + 2 * TABLE_LENGTH * mode, source, 2 * TABLE_LENGTH)
    channels = organisation(block, O_CHANNELS)
    count(block, reads, 2 * TABLE_LENGTH)
    count(block, BROADCASTS, channels * bursts(2 * TABLE_LENGTH))
    count(block, WRITES, channels * bursts(2 * TABLE_LENGTH))
    count(block, ENTERED, channels * 2 * TABLE_LENGTH)
    return DONE


@inline
def activate(form, mode, block):
    channels, banks = selected(block), organisation(block, O_BANKS)
    if channels == 0 or not 0 <= mode < TABLES:
        return PUNT
    table, scratch = state(block, AF_TABLES) + 2 * TABLE_LENGTH * mode, np.zeros(3 * 16, np.uint16)
    arguments = scratch.ctypes.data
    low, high = arguments + 32, arguments + 64
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            results = state(block, AF_RESULTS) + 2 * channel * banks
            for bank in range(0, banks, 4):
                put(arguments, sums(form, block, channel, bank, banks))
                for i in range(4):
                    at = i32(load(arguments + 2 * i, u16)) >> 6
                    store(low + 2 * i, load(table + 2 * at, u16))
                    store(high + 2 * i, load(table + 2 * (at + 1 & TABLE_LENGTH - 1), u16))
                put_part(results + 2 * bank, bits(form, interpolated(form, arguments, low, high)), min(banks - bank, 4))
    scratch[0] = 0              # used to here: its address was
    count(block, COMPUTES, channels)
    count(block, ELEMENTS, channels * banks)
    return DONE


@leaf
def interpolated(form, arguments, low, high):
    """16 values between those at `low` and `high`, as fp32."""
    x, a, b = take(arguments, u16), numbers(form, low), numbers(form, high)
    rest = x & u16(63)
    between = a + (b - a) * (convert(rest, f32) * f32(1 / 64))
    value = where(rest == u16(0), a, between)
    return where((x & u16(0x7FFF)) > u16(0x7C00 if form == F16 else 0x7F80), NAN, value)


@kernel("pim.af.f16")
def pim_af_f16(mode, _1, _2, _3, block):
    return activate(F16, mode, block)


@kernel("pim.af.bf16")
def pim_af_bf16(mode, _1, _2, _3, block):
    return activate(BF16, mode, block)


@kernel("pim.rd_af")
def pim_rd_af(dst, _1, _2, _3, block):
    channels, banks = selected(block), organisation(block, O_BANKS)
    if channels == 0:
        return PUNT
    target, writes = writable(block, PORT, dst, channels * banks * 2, 1)
    if target == 0:
        return PUNT
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            move(place, state(block, AF_RESULTS) + 2 * channel * banks, 2 * banks)
            place += 2 * banks
    count(block, writes, channels * banks * 2)
    count(block, READOUTS, channels * banks)
    count(block, READS, channels * bursts(banks * 2))
    count(block, LEFT, channels * banks * 2)
    return DONE


# ------------------------------------------------------------------------------------------------ element-wise


@inline
def multiply(form, opsize, row, block):
    """In each bank group: bank 2 = bank 0 * bank 1."""
    first, channels, host = csr(block, FIRST), channels_for(block, row), banks_to_write(block)
    banks, groups = organisation(block, O_BANKS), organisation(block, O_BANK_GROUPS)
    each = banks // groups
    if channels == 0 or host == 0 or each < 3 or not fits(block, first, opsize):
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(0, banks, each):
                for i in range(first, first + opsize):
                    a = numbers(form, host + column_offset(block, channel, bank, row, i))
                    b = numbers(form, host + column_offset(block, channel, bank + 1, row, i))
                    put(host + column_offset(block, channel, bank + 2, row, i), bits(form, a * b))
    for bank in range(3):
        open_row(block, bank, each, banks, row)
    columns = channels * groups * opsize
    count(block, COMPUTES, channels * opsize)
    count(block, COLUMNS_READ, 2 * columns)
    count(block, COLUMNS_WRITTEN, columns)
    count(block, ELEMENTS, 16 * columns)
    count(block, STAYED, 3 * columns * COLUMN)
    return DONE


@inline
def add(form, y, x, opsize, block):
    if not 0 <= opsize <= LARGE >> 5:
        return PUNT
    size = COLUMN * opsize
    other, other_reads = readable(block, PORT, x, size, 2)
    source, reads = readable(block, PORT, y, size, 2)
    target, writes = writable(block, PORT, y, size, 2)
    if other == 0 or source == 0 or target == 0 or (other != target and overlap(other, size, target, size)):
        return PUNT
    for at in range(0, size, COLUMN):
        put(target + at, bits(form, numbers(form, source + at) + numbers(form, other + at)))
    count(block, other_reads, size)
    count(block, reads, size)
    count(block, writes, size)
    count(block, ELEMENTS, 16 * opsize)
    return DONE


@kernel("pim.ewmul.f16")
def pim_ewmul_f16(opsize, row, _2, _3, block):
    return multiply(F16, opsize, row, block)


@kernel("pim.ewmul.bf16")
def pim_ewmul_bf16(opsize, row, _2, _3, block):
    return multiply(BF16, opsize, row, block)


@kernel("pim.ewadd.f16")
def pim_ewadd_f16(y, x, opsize, _, block):
    return add(F16, y, x, opsize, block)


@kernel("pim.ewadd.bf16")
def pim_ewadd_bf16(y, x, opsize, _, block):
    return add(BF16, y, x, opsize, block)
