"""Level 2: registers and steps of micro-programs.

A step goes through the channels twice: first to see what each is about to execute and whether it may, then to do it. JUMPs are
followed both times; their counters change the second time alone.
"""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, STATE_INDEX, count, state
from emulator.native.inlining import specialised
from emulator.native.machine_code import load, move, store
from emulator.simd.functions import f16_bits, f32_from_f16
from emulator.simd.half import rounded
from emulator.simd.lanes import put, spread, take, where
from emulator.units.pim.bank_words import (
    BROADCASTS,
    COLUMNS_READ,
    COLUMNS_WRITTEN,
    COMPUTES,
    ELEMENTS,
    ENTERED,
    MACS,
    O_BANKS,
    O_BLOCKS,
    O_CHANNELS,
    O_COLUMNS,
    ROW_HITS,
    STAYED,
    STEPS,
    WRITES,
    all_in_mode,
    all_open,
    banks_to_read,
    banks_to_write,
    column_offset,
    count_commands,
    is_selected,
    organisation,
    row_of,
    selected,
)
from emulator.units.pim.commands import CRF_JUMPS, CRF_PC, CRF_REPEAT, GRF_A, GRF_B, banks_per_block, is_half
from isa.units.pim import crf
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.crf import ENTRIES, REGISTERS, REPEATS, SHAPES
from isa.units.pim.state import HAB, HAB_PIM

CRF, SRF = STATE_INDEX["pim.crf"], STATE_INDEX["pim.srf"]
LANES = 16
NOP, ADD, MUL, MAC, MAD, MOV, FILL, JUMP, EXIT = (
    crf.NOP, crf.ADD, crf.MUL, crf.MAC, crf.MAD, crf.MOV, crf.FILL, crf.JUMP, crf.EXIT)
EVEN_BANK, ODD_BANK, K_GRF_A, K_GRF_B, K_SRF_M, K_SRF_A = crf.EVEN_BANK, crf.ODD_BANK, crf.GRF_A, crf.GRF_B, crf.SRF_M, crf.SRF_A

# Classes that each operand of an opcode may have, as bits, in a word of 32: dst in the lowest eight, then src0, src1, src2.
ALLOWED = np.array([sum(1 << kind + 8 * place for place, kinds in enumerate(SHAPES[opcode].operands) for kind in kinds)
                    if opcode in SHAPES else 0 for opcode in range(16)], np.int64)
SHIFTS, INDEX_SHIFTS = (25, 22, 19, 16), (8, 4, 0, 0)


# ------------------------------------------------------------------------------------------------ registers


@specialised
def write_register(block, src, array, index, registers, copies, low, high):
    """32 bytes at `src` to register `index` of an array that has `registers` in each of `copies` blocks of a channel."""
    if selected(block) == 0 or not all_in_mode(block, low, high) or not 0 <= index < registers:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for copy in range(copies):
                move(state(block, array) + COLUMN_BYTES * ((channel * copies + copy) * registers + index), src, COLUMN_BYTES)
    channels = selected(block)
    count_commands(block, WRITES, channels, 1)
    count(block, BROADCASTS, channels)
    count(block, ENTERED, COLUMN_BYTES * channels)
    return DONE


@kernel("pim.wr.crf")
def pim_wr_crf(src, index, block):
    return write_register(block, src, CRF, index, ENTRIES // 8, 1, HAB, HAB)


@kernel("pim.wr.grf_a")
def pim_wr_grf_a(src, index, block):
    return write_register(block, src, GRF_A, index, REGISTERS, organisation(block, O_BLOCKS), HAB, HAB_PIM)


@kernel("pim.wr.grf_b")
def pim_wr_grf_b(src, index, block):
    return write_register(block, src, GRF_B, index, REGISTERS, organisation(block, O_BLOCKS), HAB, HAB_PIM)


@kernel("pim.wr.srf")
def pim_wr_srf(src, block):
    return write_register(block, src, SRF, 0, 1, organisation(block, O_BLOCKS), HAB, HAB_PIM)


# ------------------------------------------------------------------------------------------------ which instruction


@specialised
def word_at(block, channel, entry):
    return np.int64(load(state(block, CRF) + 4 * (ENTRIES * channel + entry), np.uint32))


@specialised
def follow(block, channel, change):
    """The entry of a channel's CRF that the command executes, its JUMPs followed and, if `change`, counted. -1: punt."""
    at, passed = np.int64(load(state(block, CRF_PC) + channel, np.uint8)), 0
    while at < ENTRIES:
        word = word_at(block, channel, at)
        if word >> 28 != JUMP:
            return at
        if passed >> at & 1:
            return -1
        passed |= 1 << at
        place = state(block, CRF_JUMPS) + 4 * (ENTRIES * channel + at)
        taken, following = np.int64(load(place, np.uint32)), at + 1
        if taken == (word >> 11 & 0x1FFFF):
            taken = 0
        else:
            taken = taken + 1
            following = at + 1 - (word & 0x7FF)
        if change:
            store(place, np.uint32(taken))
        at = following
        if at < 0:
            return -1
    return -1


@specialised
def kind_of(word, place):
    return word >> SHIFTS[place] & 7


@specialised
def index_of(word, place):
    return word >> INDEX_SHIFTS[place] & 15


@specialised
def is_a_bank(kind):
    return kind == EVEN_BANK or kind == ODD_BANK


@specialised
def operand_count(word):
    """Operands of an instruction that is no NOP, JUMP or EXIT: 0 for a reserved opcode."""
    allowed, found = ALLOWED[word >> 28], 0
    while allowed != 0:
        found += 1
        allowed >>= 8
    return found


@specialised
def is_legal(word, parity, write):
    """True for an instruction that blocks execute with this command."""
    opcode = word >> 28
    if opcode == NOP:
        return True
    operands, allowed = operand_count(word), ALLOWED[opcode]
    if operands == 0 or (word >> 15 & 1 and opcode >= MOV) or (word >> 12 & 1 and opcode < MOV):
        return False
    for place in range(4):
        if place < operands:
            kind = kind_of(word, place)
            if not allowed >> (8 * place + kind) & 1:
                return False
            if is_a_bank(kind):
                if kind != EVEN_BANK + parity or (place == 0) != write:
                    return False
            elif index_of(word, place) >= REGISTERS:
                return False
    return True


# ------------------------------------------------------------------------------------------------ what it does


@specialised
def register(block, word, place, channel, unit, row, column, bank):
    """Host address of what an operand is in a block: 16 lanes, or a scalar of SRF."""
    kind, index, opcode = kind_of(word, place), index_of(word, place), word >> 28
    of_block = channel * organisation(block, O_BLOCKS) + unit
    if is_a_bank(kind):
        return bank
    if kind == K_SRF_M or kind == K_SRF_A:
        return state(block, SRF) + 2 * (LANES * of_block + (0 if place == 0 else index + REGISTERS * (kind - K_SRF_M)))
    if word >> 15 & 1 or opcode == FILL:
        index = (row & 1) * 4 + (column >> 3 & 3) if opcode == MAC and kind == K_GRF_A else column % REGISTERS
    return state(block, GRF_A if kind == K_GRF_A else GRF_B) + COLUMN_BYTES * (REGISTERS * of_block + index)


@specialised
def lanes_of(word, place, address):
    """The fp32 numbers of an operand: 16 lanes, or 16 times a scalar."""
    kind = kind_of(word, place)
    return f32_from_f16(spread(load(address, np.uint16)) if kind == K_SRF_M or kind == K_SRF_A else take(address, np.uint16))


@specialised
def execute(block, word, channel, unit, row, column, bank):
    """An instruction in one block; `bank` is the host address of the command's column."""
    opcode = word >> 28
    dst = register(block, word, 0, channel, unit, row, column, bank)
    first = register(block, word, 1, channel, unit, row, column, bank)
    if opcode >= MOV:
        bits = take(first, np.uint16)
        if word >> 12 & 1:
            bits = where(bits >= np.uint16(0x8000), np.uint16(0), bits)
        put(dst, bits)
        return
    a = lanes_of(word, 1, first)
    b = lanes_of(word, 2, register(block, word, 2, channel, unit, row, column, bank))
    if opcode == ADD:
        put(dst, f16_bits(a + b))
    elif opcode == MUL:
        put(dst, f16_bits(a * b))
    elif opcode == MAC:
        put(dst, f16_bits(f32_from_f16(take(dst, np.uint16)) + rounded(a * b)))
    else:
        c = lanes_of(word, 3, register(block, word, 3, channel, unit, row, column, bank))
        put(dst, f16_bits(rounded(a * b) + c))


@specialised
def step(block, parity, column, write):
    """One column command to the even or odd banks in HAB_PIM."""
    if not is_half(block, parity, HAB_PIM, HAB_PIM) or not 0 <= column < organisation(block, O_COLUMNS):
        return PUNT
    apart, units = banks_per_block(block), organisation(block, O_BLOCKS)
    banks = banks_to_write(block) if write else banks_to_read(block)
    if banks == 0 or not all_open(block, parity, apart, organisation(block, O_BANKS)):
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            at = follow(block, channel, False)
            if at < 0 or not is_legal(word_at(block, channel, at), parity, write):
                return PUNT
    macs = elements = columns_read = columns_written = 0
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            at = follow(block, channel, True)
            word = word_at(block, channel, at)
            opcode = word >> 28
            commands = (word & 0x7FF) + 1 if opcode == NOP else REPEATS if word >> 15 & 1 or opcode == FILL else 1
            if opcode == NOP:       # with a write, as a FILL of the bank
                word = np.int64(FILL << 28 | EVEN_BANK + parity << 25 | K_GRF_A + parity << 22)
            if opcode != NOP or write:
                operands, reads = operand_count(word), False
                for place in range(1, 4):
                    reads = reads or (place < operands and is_a_bank(kind_of(word, place)))
                for unit in range(units):
                    bank = unit * apart + parity
                    row = row_of(block, channel, bank)
                    execute(block, word, channel, unit, row, column, banks + column_offset(block, channel, bank, row, column))
                if opcode == MAC or opcode == MAD:
                    macs += LANES * units
                else:
                    elements += LANES * units
                if is_a_bank(kind_of(word, 0)):
                    columns_written += units
                if reads:
                    columns_read += units
            place = state(block, CRF_REPEAT) + 4 * channel
            taken = np.int64(load(place, np.uint32)) + 1
            done = taken >= commands
            store(place, np.uint32(0 if done else taken))
            store(state(block, CRF_PC) + channel, np.uint8(at + 1 if done else at))
    channels = selected(block)
    count(block, ROW_HITS, channels * units)
    count_commands(block, COMPUTES, channels, 1)
    count(block, STEPS, channels)
    count(block, MACS, macs)
    count(block, ELEMENTS, elements)
    count(block, COLUMNS_READ, columns_read)
    count(block, COLUMNS_WRITTEN, columns_written)
    count(block, STAYED, COLUMN_BYTES * (columns_read + columns_written))
    return DONE


@kernel("pim.rd.pim")
def pim_rd_pim(parity, column, block):
    return step(block, parity, column, False)


@kernel("pim.wr.pim")
def pim_wr_pim(parity, column, block):
    return step(block, parity, column, True)
