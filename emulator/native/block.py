"""The words of the context block: memory through which compiled kernels see a machine (emulator/kernel_words.py)."""

from __future__ import annotations

import numpy as np

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.preset import Preset
from isa.units import UNITS
from isa.units.cim.patterns import holds
from isa.units.pim.banks import Organisation

PUNT, DONE = 0, 1         # a kernel that raises returns 0 (emulator/native/object_code.py), which is PUNT
KERNEL_SIGNATURE = "int64(int64, int64, int64, int64, int64)"       # four operand values, the context block -> PUNT or DONE
LOOP_SIGNATURE = "int64(int64, int64, int64)"                       # a piece of code, the context block, limit -> instructions

# Words of the block. State arrays follow from STATE on, two words each: host address and length.
(COUNTS, CSR_FILE, SPANS, SPAN_COUNT, RESULT, PAGE_BYTES, GUARD_START, GUARD_BYTES, GUARDS, GUARD_COUNT, TOHOST, STOP,
 POOL, COUNTED_TABLE, REGISTERS, KERNEL_TABLE, CSR_MASKS, BANKS, EARLIER, CLOCK_AFTER, CLOCKS, CLOCK_COUNT, LUT_CORES,
 MACROS, STATE) = range(25)   # CLOCK_AFTER: host address of an entry of emulator/clock.py, 0: no clock. EARLIER: of counters
STATE_INDEX: dict[str, int] = {name: STATE + 2 * i for i, name in enumerate(
    array.name for unit in UNITS.values() for array in unit.state)}
WORDS = STATE + 2 * len(STATE_INDEX)

# Registers are x0 to x31, one that takes writes to x0, and pc.
NO_REGISTER, PC = 32, 33

# Of each clock: host addresses of its state and of its figures.
CLOCK_WORDS, CLOCK_FIGURES = range(2)

# A piece of decoded code: host address of its rows, their number, address of the first instruction, host address of the visits.
CODE, LENGTH, CODE_AT, VISITS = range(4)

# A span is a run of bytes at one host address: a region, or one section in flash. Words of a span:
BASE, SIZE, HOST, WRITABLE, PORTS, READ_SLOT, WRITE_SLOT, FIXED = range(8)       # FIXED: nothing ever changes there
SPAN_WORDS = 8
COUNTED_ENTRIES, COUNTED_WORDS = 4096, 11       # of what emulator/units/lut/counts.py and sp/operands.py remember
NOTES_AT = COUNTED_ENTRIES * COUNTED_WORDS      # behind them: how many words of notes of rows are in use, then these
NOTES = 1 << 21
SINK = 127                      # counter slot of operands that have no bytes: never shown

PORT: dict[str, int] = {name: i for i, name in enumerate(("core", *UNITS))}      # bit number in PORTS
LARGE = 1 << 40                 # no operand has more bytes; negative sizes and sizes that have wrapped around are beyond it

# The table of a machine's banks: numbers, and the host addresses of what each coordinate adds to an address
# (isa/units/pim/banks.py).
(O_CHANNELS, O_BANK_GROUPS, O_BANKS, O_ROWS, O_COLUMNS, O_BLOCKS, O_BASE, O_SIZE, O_CONTIGUOUS, O_CHANNEL_AT, O_BANK_AT, O_ROW_AT,
 O_COLUMN_AT) = range(13)


def organisation_table(banks: Organisation) -> np.ndarray:
    """The table of a machine's banks, (13,) int64. The offsets that it points to live as long as `banks`."""
    offsets = banks.offsets
    numbers = (banks.channels, banks.bank_groups, banks.banks, banks.rows, banks.columns, banks.blocks, banks.base, banks.size,
               banks.contiguous)
    return np.array([*numbers, *(offsets[name].ctypes.data for name in ("channel", "bank", "row", "column"))], np.int64)


# The table of the cim unit: its sizes, then for each N from 0 to 16 the M with which its cells hold N of M, a bit each.
M_MACROS, M_ROWS, M_COLUMNS, M_SUB_MACROS, M_ADCS, M_PATTERNS = range(6)


def macros_table(preset: Preset) -> np.ndarray:
    """The table of a machine's cim unit, (23,) int64."""
    sizes = [preset.parameter(f"cim.{name}") for name in ("macros", "rows", "columns", "sub_macros", "adcs")]
    return np.array([*sizes, *(sum(1 << m for m in range(17) if holds(preset, n, m)) for n in range(17))], np.int64)


def slot(name: str) -> int:
    """Counter slot by name, for constants in kernels."""
    return COUNTERS[name].slot


def csr_number(name: str) -> int:
    """CSR address by name, for constants in kernels."""
    return CSRS[name].address
