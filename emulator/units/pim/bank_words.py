"""The banks in the words of kernels: which channels are selected, where a column lies, which row is open, what a channel holds, and
the unit's counters.

A kernel that finds the banks in a state that its command does not allow punts, as everywhere; so nothing here says what is wrong.
`O_` are the words of the table that a machine fills (emulator/native/block.py): numbers, and the host addresses of what each
coordinate adds to an address.
"""

from __future__ import annotations

import numpy as np

from emulator.native.block import (  # noqa: F401 - kernels have all from here  # isort: skip
    O_BANK_AT, O_BANK_GROUPS, O_BANKS, O_BASE, O_BLOCKS, O_CHANNEL_AT, O_CHANNELS, O_COLUMN_AT, O_COLUMNS, O_CONTIGUOUS, O_ROW_AT,
    O_ROWS, O_SIZE,
)
from emulator.kernel_words import BANKS, PORT, STATE_INDEX, count, csr, csr_number, overlap, readable, slot, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, ones, store
from emulator.simd.lanes import put, take
from emulator.units.pim.processors import bits, sums_of_four
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.state import SB

PIM = PORT["pim"]
MASK = csr_number("pim.channel_mask")           # the three others have the numbers behind it
OPEN_ROW, MODE = STATE_INDEX["pim.open_row"], STATE_INDEX["pim.mode"]
ACTIVATIONS, PRECHARGES, ROW_HITS, ROW_CONFLICTS, ANY_OPENING, ANY_CONFLICT, SLOTS = (slot(f"pim.{name}") for name in (
    "activations", "precharges", "row_hits", "row_conflicts", "any_opening", "any_conflict", "slots"))
FIRST, FIRST_OF_BUFFER, NEXT_BANK, GROUP_MASK = (
    csr_number(f"pim.{name}") for name in ("column", "buffer_column", "next_bank", "group_mask"))
BUFFER, ACCUMULATORS = STATE_INDEX["pim.global_buffer"], STATE_INDEX["pim.accumulators"]
(READS, WRITES, COMPUTES, COLUMNS_READ, COLUMNS_WRITTEN, MACS, ELEMENTS, BROADCASTS, READOUTS, SET, STAYED, LEFT, ENTERED,
 MODE_SWITCHES, STEPS) = (
    slot(f"pim.{name}") for name in (
        "read_commands", "write_commands", "compute_commands", "columns_read", "columns_written", "macs", "elements", "broadcasts",
        "readouts", "accumulators_set", "bytes_stayed", "bytes_left", "bytes_entered", "mode_switches", "crf_steps"))
WORDS_EACH = 16 * 4         # bytes of the accumulators of a bank


@inline
def organisation(block, word):
    """A number of the machine's banks, by its O_ name."""
    return load(load(block + 8 * BANKS, np.int64) + 8 * word, np.int64)


@inline
def is_selected(block, channel):
    """True if a channel's bit in the masks is set."""
    return csr(block, MASK + (channel >> 6)) >> (channel & 63) & 1 != 0


@specialised
def selected(block):
    """How many channels are selected; 0: punt, for none or one that the machine does not have."""
    channels, total, inside = organisation(block, O_CHANNELS), 0, 0
    for word in range(4):
        mask = np.uint64(csr(block, MASK + word))
        total += np.int64(ones(mask))
        left = channels - 64 * word
        if left > 0:
            inside += np.int64(ones(mask & (np.uint64(0xFFFF_FFFF_FFFF_FFFF) >> np.uint64(64 - min(left, 64)))))
    return total if total == inside else 0


@inline
def row_place(block, channel, bank):
    """Host address of the open row of a bank, int32, -1: none."""
    return state(block, OPEN_ROW) + 4 * (channel * organisation(block, O_BANKS) + bank)


@inline
def row_of(block, channel, bank):
    """The open row of a bank, -1: none."""
    return np.int64(load(row_place(block, channel, bank), np.int32))


@inline
def mode_of(block, channel):
    """0 SB, 1 HAB, 2 HAB_PIM."""
    return np.int64(load(state(block, MODE) + channel, np.uint8))


@inline
def column_offset(block, channel, bank, row, column):
    """Bytes from the start of the region to a column; everything in range."""
    table = load(block + 8 * BANKS, np.int64)
    return (load(load(table + 8 * O_CHANNEL_AT, np.int64) + 8 * channel, np.int64)
            + load(load(table + 8 * O_BANK_AT, np.int64) + 8 * bank, np.int64)
            + load(load(table + 8 * O_ROW_AT, np.int64) + 8 * row, np.int64)
            + load(load(table + 8 * O_COLUMN_AT, np.int64) + 8 * column, np.int64))


@specialised
def banks_to_read(block):
    """Host address of the region's first byte; 0: punt."""
    host, _ = readable(block, PIM, organisation(block, O_BASE), organisation(block, O_SIZE), COLUMN_BYTES)
    return host


@specialised
def banks_to_write(block):
    """Host address of the region's first byte; 0: punt, also where a write to any byte of it is watched."""
    host, _ = writable(block, PIM, organisation(block, O_BASE), organisation(block, O_SIZE), COLUMN_BYTES)
    return host


@specialised
def all_in_mode(block, low, high):
    """True if every selected channel is in a mode low..high."""
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel) and not low <= mode_of(block, channel) <= high:
            return False
    return True


@specialised
def all_open(block, first, step, end):
    """True if banks first, first + step, ... below `end` of every selected channel all have an open row."""
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                if row_of(block, channel, bank) < 0:
                    return False
    return True


@specialised
def all_closed(block, first, step, end):
    """True if none of these banks has an open row."""
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                if row_of(block, channel, bank) >= 0:
                    return False
    return True


@specialised
def activate(block, first, step, end, row):
    """Open a row in these banks of every selected channel. False: punt, one has an open row."""
    if not 0 <= row < organisation(block, O_ROWS) or not all_closed(block, first, step, end):
        return False
    opened = 0
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                store(row_place(block, channel, bank), np.int32(row))
                opened += 1
    count(block, ACTIVATIONS, opened)
    count(block, ANY_OPENING, 1)
    return True


@specialised
def precharge(block, first, step, end):
    """Close these banks of every selected channel."""
    closed = 0
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                closed += 1 if row_of(block, channel, bank) >= 0 else 0
                store(row_place(block, channel, bank), np.int32(-1))
    count(block, PRECHARGES, closed)


@specialised
def open_row(block, first, step, end, row):
    """Have a row open in these banks of every selected channel, as a macro form does: the state and its counters but for those of
    `count_found`, which are of the whole form. The row is in range and the channels are in SB.

    Returns (banks that were closed, banks that had another row open).
    """
    hits, closed, conflicts = 0, 0, 0
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                before = row_of(block, channel, bank)
                hits += 1 if before == row else 0
                closed += 1 if before < 0 else 0
                conflicts += 1 if before >= 0 and before != row else 0
                store(row_place(block, channel, bank), np.int32(row))
    count(block, ROW_HITS, hits)
    count(block, ROW_CONFLICTS, conflicts)
    count(block, PRECHARGES, conflicts)
    count(block, ACTIVATIONS, closed + conflicts)
    return closed, conflicts


@inline
def count_found(block, closed, conflicts):
    """Count whether a macro form had to open rows, and to close others first."""
    if closed + conflicts != 0:
        count(block, ANY_OPENING, 1)
        if conflicts != 0:
            count(block, ANY_CONFLICT, 1)


@inline
def count_commands(block, kind, channels, each):
    """Count column commands: `each` to every channel."""
    count(block, kind, channels * each)
    count(block, SLOTS, each)


# ------------------------------------------------------------------------------------------------ a column to memory, or back


@inline
def column_place(block, host, channel, bank, row, column):
    """Host address of a column, in banks that lie at `host`; row -1: of the open row."""
    return host + column_offset(block, channel, bank, row if row >= 0 else row_of(block, channel, bank), column)


@specialised
def read_column(block, dst, bank, row, column):
    """A column of a bank of every selected channel to memory, and its counters; row -1: of the open row. False: punt."""
    channels, host = selected(block), banks_to_read(block)
    size = COLUMN_BYTES * channels
    target, writes = writable(block, PIM, dst, size, 1)
    if host == 0 or target == 0:
        return False
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            source = column_place(block, host, channel, bank, row, column)
            if overlap(source, COLUMN_BYTES, target, size):
                return False
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            put(place, take(column_place(block, host, channel, bank, row, column), np.uint16))
            place += COLUMN_BYTES
    count(block, writes, size)
    count_commands(block, READS, channels, 1)
    count(block, COLUMNS_READ, channels)
    count(block, LEFT, size)
    if row < 0:
        count(block, ROW_HITS, channels)
    return True


@specialised
def write_column(block, src, first, step, end, row, column):
    """32 bytes at `src` to a column of banks first, first + step, ... below `end` of every selected channel, and its counters; row
    -1: of the open rows. False: punt."""
    channels, host, data, written = selected(block), banks_to_write(block), take(src, np.uint16), 0
    if host == 0:
        return False
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                put(column_place(block, host, channel, bank, row, column), data)
                written += 1
    count_commands(block, WRITES, channels, 1)
    count(block, COLUMNS_WRITTEN, written)
    count(block, ENTERED, COLUMN_BYTES * channels)
    if row < 0:
        count(block, ROW_HITS, written)
    return True


# ------------------------------------------------------------------------------------------------ what a channel holds


@inline
def fits(block, first, opsize):
    """True if a run lies in a row."""
    columns = organisation(block, O_COLUMNS)
    return 0 <= first < columns and 1 <= opsize <= columns - first


@specialised
def channels_for(block, row):
    """How many channels a form works on; 0: punt."""
    if not 0 <= row < organisation(block, O_ROWS) or not all_in_mode(block, SB, SB):
        return 0
    return selected(block)


@inline
def buffer_place(block, channel, column):
    """Host address of a column of a channel's global buffer."""
    return state(block, BUFFER) + COLUMN_BYTES * (channel * organisation(block, O_COLUMNS) + column)


@inline
def accumulator_place(block, channel, bank):
    return state(block, ACCUMULATORS) + WORDS_EACH * (channel * organisation(block, O_BANKS) + bank)


@inline
def bursts(size):
    """Bursts of 32 bytes."""
    return (size + COLUMN_BYTES - 1) // COLUMN_BYTES


@inline
def sums(form, block, channel, bank, banks):
    """What the accumulators of a bank and the three behind it fold to, as 16-bit numbers in lanes 0 to 3."""
    first, last = accumulator_place(block, channel, bank), accumulator_place(block, channel, banks - 1)
    return bits(form, sums_of_four(form, first, min(first + WORDS_EACH, last), min(first + 2 * WORDS_EACH, last),
                                   min(first + 3 * WORDS_EACH, last)))
