"""Level 2: Samsung's micro-programs. In HAB_PIM a column command to the even or the odd banks makes every block of the channel
execute the instruction at the CRF's program counter, on the column that the command names. Words and their operands:
isa/units/pim/crf.py.

fp16 as isa/half.py has it: a MAC multiplies, rounds, adds, rounds. MOV, FILL and NOP move bits.

Source: SAITPublic/PIMSimulator, README 2.3 for operands; src/PIMRank.cpp for what a command does: that FILL is repeated eight times
as AAM is, the registers' numbers in both, the NOP that stores. Its mode that deals with all 16 registers at once (use_all_grf) is
not there. Assumed: registers are written without a change of open rows; a
command after EXIT, where the simulator goes on as in HAB, is illegal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.half import f16_mac, f16_product, f16_sum
from isa.instruction import instruction
from isa.units.pim import crf
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.commands import columns_of, half_of_banks
from isa.units.pim.crf import CrfError, Word
from isa.units.pim.state import HAB, HAB_PIM, count_commands, expect_mode, illegal, rows_of, selected

LANES = 16
_GRF = {crf.GRF_A: "pim.grf_a", crf.GRF_B: "pim.grf_b"}
_BANKS = (crf.EVEN_BANK, crf.ODD_BANK)


# ------------------------------------------------------------------------------------------------ registers


def _write_register(m, what, name, index, registers, data, *modes):
    """A burst to register `index` of `registers` in every block, or in the one CRF, of each selected channel."""
    channels = selected(m)
    expect_mode(m, channels, what, *modes)
    if index >= registers:
        raise illegal(index, f"{what} {index}; expected 0..{registers - 1}")
    copies = 1 if name == "pim.crf" else m.preset.banks.blocks
    values = m.state[name].reshape(m.preset.banks.channels, copies, registers, -1).copy()
    values[channels, :, index] = data
    m.set_state(name, values)
    count_commands(m, "pim.write_commands", channels, 1)
    m.count("pim.broadcasts", len(channels))
    m.count("pim.bytes_entered", COLUMN_BYTES * len(channels))


def _f16(m, src):
    """16 fp16 numbers from memory."""
    return m.read_u16(src, LANES).view(np.float16)


@instruction("pim.wr.crf   R opcode=0x7B funct3=0 funct7=0x10",
             "CRF[8 * index + i] = src[i], i < 8: a quarter of the micro-program; in HAB",
             operands="src<u32[8] index",
             example="pim.wr.crf a0, zero             # at a0: .crf mac grf_b[0], grf_a[0], even_bank, aam, and seven more")
def pim_wr_crf(m, src, index):
    _write_register(m, "pim.wr.crf", "pim.crf", index, crf.ENTRIES // 8, m.read_u32(src, 8), HAB)


@instruction("pim.wr.grf_a R opcode=0x7B funct3=0 funct7=0x11", "GRF_A[index] = src in every block; in HAB or HAB_PIM",
             operands="src<f16[16] index", example="pim.wr.grf_a a0, a1")
def pim_wr_grf_a(m, src, index):
    _write_register(m, "pim.wr.grf_a", "pim.grf_a", index, crf.REGISTERS, _f16(m, src), HAB, HAB_PIM)


@instruction("pim.wr.grf_b R opcode=0x7B funct3=0 funct7=0x12", "GRF_B[index] = src in every block; in HAB or HAB_PIM",
             operands="src<f16[16] index", example="pim.wr.grf_b a0, a1")
def pim_wr_grf_b(m, src, index):
    _write_register(m, "pim.wr.grf_b", "pim.grf_b", index, crf.REGISTERS, _f16(m, src), HAB, HAB_PIM)


@instruction("pim.wr.srf   R opcode=0x7B funct3=0 funct7=0x13",
             "SRF_M[i] = src[i], SRF_A[i] = src[8 + i], i < 8, in every block; in HAB or HAB_PIM",
             operands="src<f16[16]", example="pim.wr.srf a0")
def pim_wr_srf(m, src):
    _write_register(m, "pim.wr.srf", "pim.srf", 0, 1, _f16(m, src), HAB, HAB_PIM)


# ------------------------------------------------------------------------------------------------ a step


def _next(m, channel):
    """(entry, word, jumps taken by entry) of the instruction that the next command executes. Traps where there is none."""
    words = m.state["pim.crf"].reshape(-1, crf.ENTRIES)[channel]
    jumps = m.state["pim.crf_jumps"].reshape(-1, crf.ENTRIES)[channel].copy()
    at, passed = int(m.state["pim.crf_pc"][channel]), set()
    while True:
        if at >= crf.ENTRIES:
            raise illegal(at, f"the micro-program of channel {channel} runs beyond CRF[{crf.ENTRIES - 1}]; expected an EXIT")
        word, place = crf.decode(int(words[at])), f"CRF[{at}] of channel {channel}, {int(words[at]):#010x}"
        try:
            word.check()
        except CrfError as error:
            raise illegal(words[at], f"{place}: {error}") from None
        if word.opcode == crf.EXIT:
            raise illegal(at, f"{place}: the micro-program has ended; expected pim.mode.hab, and pim.mode.hab_pim to start it anew")
        if word.opcode != crf.JUMP:
            return at, word, jumps
        if at in passed:
            raise illegal(words[at], f"{place}: JUMPs lead round and round, with no instruction between them")
        passed.add(at)
        if jumps[at] == word.count:
            jumps[at], at = 0, at + 1
        else:
            jumps[at] += 1
            at += 1 - word.offset
        if at < 0:
            raise illegal(at, f"{place}: a JUMP to entry {at}; expected 0..{crf.ENTRIES - 1}")


@dataclass
class _Blocks:
    """What an instruction can reach of a channel's blocks, with the column of the command."""

    m: object
    channel: int
    parity: int
    column: int
    places: np.ndarray              # (blocks,) linear addresses of the column in the banks of that parity
    rows: np.ndarray                # (blocks,)
    write: bool
    entry: str
    from_bank: np.ndarray | None = None

    def bank(self, kind, write):
        """Check that the command is to this bank, and reads or writes as the instruction does."""
        if kind != _BANKS[self.parity] or write != self.write:
            here = f"a {'write' if self.write else 'read'} command to {crf.OPERANDS[_BANKS[self.parity]]}"
            raise illegal(kind, f"{self.entry} {'writes' if write else 'reads'} {crf.OPERANDS[kind]}, and this is {here}")

    def index(self, word, kind, index):
        """The number of a register in each block, (blocks,)."""
        if not (word.aam or word.opcode == crf.FILL):
            return np.full(len(self.rows), index)
        if word.opcode == crf.MAC and kind == crf.GRF_A:
            return self.rows % 2 * 4 + self.column // 8 % 4
        return np.full(len(self.rows), self.column % crf.REGISTERS)

    def registers(self, name, count):
        """A view of a register array of the channel: (blocks, count, lanes)."""
        return self.m.state[name].view(np.uint16).reshape(self.m.preset.banks.channels, len(self.rows), count, -1)[self.channel]

    def read(self, word, kind, index):
        """An operand's bits, (blocks, 16)."""
        if kind in _BANKS:
            self.bank(kind, False)
            if self.from_bank is None:
                self.from_bank = self.m.read_columns(self.places).view("<u2")
            return self.from_bank
        if kind in _GRF:
            return self.registers(_GRF[kind], crf.REGISTERS)[np.arange(len(self.rows)), self.index(word, kind, index)]
        scalars = self.registers("pim.srf", 1)[:, 0, index + crf.REGISTERS * (kind == crf.SRF_A)]
        return np.repeat(scalars[:, None], LANES, axis=1)

    def store(self, word, kind, index, bits):
        """Put (blocks, 16) bits to the destination."""
        if kind in _BANKS:
            self.bank(kind, True)
            self.m.write_columns(self.places, bits)
            return
        name, count = ("pim.srf", 1) if kind in (crf.SRF_M, crf.SRF_A) else (_GRF[kind], crf.REGISTERS)
        values = self.registers(name, count).copy()
        values[np.arange(len(values)), 0 if count == 1 else self.index(word, kind, index)] = bits
        self.m.set_state(name, values.view(np.float16), self.channel * values.size)


def _result(word: Word, a, b=None, c=None):
    """The bits that an instruction makes of its sources' and, for MAC, of its destination's."""
    match word.opcode:
        case crf.ADD: return f16_sum(a, b)
        case crf.MUL: return f16_product(a, b)
        case crf.MAC | crf.MAD: return f16_mac(c, a, b)
        case _: return np.where(a & 0x8000, np.uint16(0), a) if word.relu else a


def _execute(blocks, word):
    """One instruction in every block of a channel."""
    m, size = blocks.m, len(blocks.rows) * LANES
    if word.opcode == crf.NOP and not blocks.write:
        return
    if word.opcode == crf.NOP:
        moved = Word(crf.FILL, _BANKS[blocks.parity], (crf.GRF_A, crf.GRF_B)[blocks.parity])
        blocks.store(moved, moved.dst, 0, blocks.read(moved, moved.src0, 0))
    else:
        (dst, dst_index), *sources = word.operands
        if word.opcode == crf.MAC:
            sources.append((dst, dst_index))
        blocks.store(word, dst, dst_index, _result(word, *(blocks.read(word, *source) for source in sources)))
    m.count("pim.macs" if word.opcode in (crf.MAC, crf.MAD) else "pim.elements", size)
    stores = word.opcode == crf.NOP or word.dst in _BANKS
    m.count("pim.columns_read", len(blocks.rows) * (blocks.from_bank is not None))
    m.count("pim.columns_written", len(blocks.rows) * stores)
    m.count("pim.bytes_stayed", len(blocks.rows) * COLUMN_BYTES * (stores + (blocks.from_bank is not None)))


def _step(m, what, parity, column, write):
    """One instruction of the micro-program of each selected channel, by a column command to the banks of a parity."""
    channels, banks = half_of_banks(m, what, parity, HAB_PIM)
    places = columns_of(m, what, channels, banks, column)
    for channel, place, rows in zip(channels.tolist(), places, rows_of(m, channels, banks), strict=True):
        at, word, jumps = _next(m, channel)
        _execute(_Blocks(m, channel, parity, column, place, rows, write, f"CRF[{at}] of channel {channel}, {word},"), word)
        taken = int(m.state["pim.crf_repeat"][channel]) + 1
        done = taken >= word.commands
        m.set_state("pim.crf_pc", [at + done], channel)
        m.set_state("pim.crf_repeat", [0 if done else taken], channel)
        m.set_state("pim.crf_jumps", jumps, channel * crf.ENTRIES)
    count_commands(m, "pim.compute_commands", channels, 1)
    m.count("pim.crf_steps", len(channels))


@instruction("pim.rd.pim   R opcode=0x7B funct3=0 funct7=0x14",
             "step the micro-program with a read of a column of the even (parity 0) or odd (1) banks: they are sources; in HAB_PIM",
             operands="parity column", example="pim.mode.hab_pim zero\npim.rd.pim zero, a1             # the first instruction")
def pim_rd_pim(m, parity, column):
    _step(m, "pim.rd.pim", parity, column, False)


@instruction("pim.wr.pim   R opcode=0x7B funct3=0 funct7=0x15",
             "step the micro-program with a write of a column of the even (parity 0) or odd (1) banks: destinations, and with a "
             "NOP, of GRF_A[column mod 8] in the even banks, of GRF_B[column mod 8] in the odd ones; in HAB_PIM",
             operands="parity column", example="pim.wr.pim zero, a1")
def pim_wr_pim(m, parity, column):
    _step(m, "pim.wr.pim", parity, column, True)
