"""What kernels of the pim unit share: the counters; of macro forms the run of columns, the places of what a channel holds."""

from __future__ import annotations

from emulator.kernel_words import STATE_INDEX, csr_number, inline, leaf, slot, state
from emulator.units.pim.banks import O_BANKS, O_COLUMNS, O_ROWS, all_in_mode, organisation, selected
from emulator.units.pim.mac_runs import COLUMN, bits, sums_of_four
from isa.units.pim.state import SB

FIRST, FIRST_OF_BUFFER, NEXT_BANK, GROUP_MASK = (
    csr_number(f"pim.{name}") for name in ("column", "buffer_column", "next_bank", "group_mask"))
BUFFER, ACCUMULATORS = STATE_INDEX["pim.global_buffer"], STATE_INDEX["pim.accumulators"]
(READS, WRITES, COMPUTES, COLUMNS_READ, COLUMNS_WRITTEN, MACS, ELEMENTS, BROADCASTS, READOUTS, SET, STAYED, LEFT, ENTERED,
 MODE_SWITCHES, STEPS) = (
    slot(f"pim.{name}") for name in (
        "read_commands", "write_commands", "compute_commands", "columns_read", "columns_written", "macs", "elements", "broadcasts",
        "readouts", "accumulators_set", "bytes_stayed", "bytes_left", "bytes_entered", "mode_switches", "crf_steps"))
WORDS_EACH = 16 * 4         # bytes of the accumulators of a bank


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


@leaf
def sums(form, block, channel, bank, banks):
    """What the accumulators of a bank and the three behind it fold to, as 16-bit numbers in lanes 0 to 3."""
    first, last = accumulator_place(block, channel, bank), accumulator_place(block, channel, banks - 1)
    return bits(form, sums_of_four(form, first, min(first + WORDS_EACH, last), min(first + 2 * WORDS_EACH, last),
                                   min(first + 3 * WORDS_EACH, last)))
