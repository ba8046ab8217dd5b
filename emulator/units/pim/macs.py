"""Macro forms that multiply and accumulate, four banks at a time, with what sets and reads the accumulators."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr, readable, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, on_stack, store
from emulator.simd.lanes import put, put_part, spread, take
from emulator.threads.parallel import in_parallel
from emulator.units.pim.bank_words import (
    COLUMN_BYTES,
    COLUMNS_READ,
    COMPUTES,
    ENTERED,
    FIRST,
    FIRST_OF_BUFFER,
    LEFT,
    MACS,
    NEXT_BANK,
    O_BANKS,
    O_CHANNELS,
    PIM,
    READOUTS,
    READS,
    SET,
    STAYED,
    WRITES,
    accumulator_place,
    banks_to_read,
    buffer_place,
    bursts,
    channels_for,
    column_offset,
    count_commands,
    count_found,
    fits,
    is_selected,
    open_row,
    organisation,
    selected,
    sums,
)
from emulator.units.pim.processors import BF16, F16, I8, READY, macs_of_four, prepare

i32, u16, u32 = np.int32, np.uint16, np.uint32

# ------------------------------------------------------------------------------------------------ multiply-accumulate

# Columns that are done at a time, and their buffer: x made ready, and four runs. The buffer is on the stack, because this must not
# fail once it has begun: the reference engine would add everything again.
AT_ONCE = 64
RUN = COLUMN_BYTES * AT_ONCE
SCRATCH = READY * (AT_ONCE + 1) + 4 * RUN


@inline
def run_place(block, host, channel, bank, row, first, n, apart, room):
    """Host address of a bank's run; if its columns lie apart, they are copied to `room`."""
    if not apart:
        return host + column_offset(block, channel, bank, row, first)
    for i in range(n):
        put(room + COLUMN_BYTES * i, take(host + column_offset(block, channel, bank, row, first + i), u16))
    return room


@inline
def some_macs(begin, stop, form, block, host, groups, first_bank, last_bank, row, first, column, n, apart):
    """The MACs of four banks each, numbered channel * groups + group; channels that are not selected are left out. The last bank
    stands for banks behind it.

    Numbers alone, as `in_parallel` passes them.
    """
    x = on_stack(SCRATCH)
    room = x + READY * (AT_ONCE + 1)
    for done in range(0, n, AT_ONCE):
        few, ready, excess = min(n - done, AT_ONCE), -1, i32(0)
        for unit in range(begin, stop):
            channel, group = unit // groups, unit % groups
            if not is_selected(block, channel):
                continue
            if channel != ready:
                ready, excess = channel, prepare(form, buffer_place(block, channel, column + done), few, x)
            b0 = first_bank + 4 * group
            b1, b2, b3 = min(b0 + 1, last_bank), min(b0 + 2, last_bank), min(b0 + 3, last_bank)
            w0 = run_place(block, host, channel, b0, row, first + done, few, apart, room)
            w1 = run_place(block, host, channel, b1, row, first + done, few, apart, room + RUN)
            w2 = run_place(block, host, channel, b2, row, first + done, few, apart, room + 2 * RUN)
            w3 = run_place(block, host, channel, b3, row, first + done, few, apart, room + 3 * RUN)
            following = min(unit + 1, stop - 1)
            channel, group = following // groups, following % groups
            f0 = first_bank + 4 * group
            f1, f2, f3 = min(f0 + 1, last_bank), min(f0 + 2, last_bank), min(f0 + 3, last_bank)
            next0 = host + column_offset(block, channel, f0, row, first + done)
            next1 = host + column_offset(block, channel, f1, row, first + done)
            next2 = host + column_offset(block, channel, f2, row, first + done)
            next3 = host + column_offset(block, channel, f3, row, first + done)
            macs_of_four(form, (w0, w1, w2, w3), (next0, next1, next2, next3), few, x, excess,
                         (accumulator_place(block, ready, b0), accumulator_place(block, ready, b1),
                          accumulator_place(block, ready, b2), accumulator_place(block, ready, b3)))


@inline
def some_macs_of_pairs(begin, stop, form, block, host, first_bank, chosen, row, first, n, apart):
    """The MACs of banks with the next one each: unit number channel * chosen + bank - first_bank.

    Numbers alone, as `in_parallel` passes them.
    """
    x, banks = on_stack(SCRATCH), organisation(block, O_BANKS)
    room = x + READY * (AT_ONCE + 1)
    for done in range(0, n, AT_ONCE):
        few = min(n - done, AT_ONCE)
        for unit in range(begin, stop):
            channel, bank = unit // chosen, first_bank + unit % chosen
            if is_selected(block, channel):
                w = run_place(block, host, channel, bank, row, first + done, few, apart, room)
                other = run_place(block, host, channel, (bank + 1) % banks, row, first + done, few, apart, room + RUN)
                excess, acc = prepare(form, other, few, x), accumulator_place(block, channel, bank)
                macs_of_four(form, (w, w, w, w), (w, w, w, w), few, x, excess, (acc, acc, acc, acc))


@specialised
def mac(form, opsize, row, first_bank, end, block):
    """Every bank of first_bank..end multiplies its run with that of its channel's global buffer, or with the next bank's."""
    first, column, pairs = csr(block, FIRST), csr(block, FIRST_OF_BUFFER), csr(block, NEXT_BANK) != 0
    channels = channels_for(block, row)
    host = banks_to_read(block)
    if channels == 0 or host == 0 or not fits(block, first, opsize) or not (pairs or fits(block, column, opsize)):
        return PUNT
    last, chosen, banks = first + opsize - 1, end - first_bank, organisation(block, O_BANKS)
    apart = column_offset(block, 0, 0, 0, last) - column_offset(block, 0, 0, 0, first) != COLUMN_BYTES * (opsize - 1)
    products, read = channels * chosen * opsize, chosen
    if pairs:
        read = min(chosen + 1, banks)
        done = in_parallel(block, products * 2 * COLUMN_BYTES, organisation(block, O_CHANNELS) * chosen, 1, some_macs_of_pairs,
                           form, block, host, first_bank, chosen, row, first, opsize, apart)
    else:
        groups = (chosen + 3) >> 2
        done = in_parallel(block, products * COLUMN_BYTES, organisation(block, O_CHANNELS) * groups, 1, some_macs,
                           form, block, host, groups, first_bank, end - 1, row, first, column, opsize, apart)
    if not done:
        return PUNT
    closed, conflicts = open_row(block, first_bank, 1, end, row)
    if read > chosen:
        of_next = open_row(block, end % banks, 1, end % banks + 1, row)
        closed, conflicts = closed + of_next[0], conflicts + of_next[1]
    count_found(block, closed, conflicts)
    count_commands(block, COMPUTES, channels, opsize)
    count(block, COLUMNS_READ, channels * read * opsize)
    count(block, MACS, products * (32 if form == I8 else 16))
    count(block, STAYED, channels * read * opsize * COLUMN_BYTES)
    return DONE


# ------------------------------------------------------------------------------------------------ accumulators


@specialised
def set_biases(form, bias, block):
    """Accumulator 0 of each bank from memory, the others 0."""
    channels, banks, size = selected(block), organisation(block, O_BANKS), 4 if form == I8 else 2
    if channels == 0:
        return PUNT
    source, reads = readable(block, PIM, bias, channels * banks * size, size)
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
    count_commands(block, WRITES, channels, bursts(banks * size))
    count(block, ENTERED, channels * banks * size)
    return DONE


@inline
def canonical_bf16(number):
    """The fp32 bits of a bf16 number."""
    return u32(0x7FC0_0000) if number & u16(0x7FFF) > u16(0x7F80) else u32(number) << u32(16)


@specialised
def read_out(form, dst, block):
    channels, banks, size = selected(block), organisation(block, O_BANKS), 4 if form == I8 else 2
    if channels == 0:
        return PUNT
    target, writes = writable(block, PIM, dst, channels * banks * size, size)
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
    count_commands(block, READS, channels, bursts(banks * size))
    count(block, LEFT, channels * banks * size)
    return DONE


# ------------------------------------------------------------------------------------------------ by instruction


def _define(name, form):
    @kernel(f"pim.mac_sbk.{name}")
    def mac_of_one_bank(opsize, bank, row, block):
        return mac(form, opsize, row, bank, bank + 1, block) if 0 <= bank < organisation(block, O_BANKS) else PUNT

    @kernel(f"pim.mac_abk.{name}")
    def mac_of_all_banks(opsize, row, block):
        return mac(form, opsize, row, 0, organisation(block, O_BANKS), block)

    @kernel(f"pim.wr_bias.{name}")
    def write_bias(bias, block):
        return set_biases(form, bias, block)

    @kernel(f"pim.rd_mac.{name}")
    def read_sums(dst, block):
        return read_out(form, dst, block)


_define("f16",  F16)
_define("bf16", BF16)
_define("i8",   I8)
