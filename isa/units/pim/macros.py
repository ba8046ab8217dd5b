"""Macro forms: SK hynix's AiM instructions, each a run of `opsize` columns in the channels of the masks.

The memory controller opens the row that a form names, in every bank that the form works on, and closes another one first: there
are no commands of level 1 to write. A run begins at column `pim.column` of that row; in the global buffer, at `pim.buffer_column`.

A processor has 16 accumulators. The form that uses them says what they hold, and which arithmetic they follow (isa/half.py):
    .f16     lane j sums the products of elements j mod 16, an fp16 number in the low half of the word
    .bf16    the same with fp32 numbers
    .i8      accumulator 0 is the int32 sum of all products, modulo 2**32, behind an adder tree; the others are not used

Source: aim_simulator, README and src/base/request.h. Where a form takes a general-purpose register there, it takes a memory
address here, and where one takes a channel mask, all take the masks in the CSRs. Assumed, for it is not published: what AF reads
from its table (isa/half.py), which banks EWMUL combines, that the next bank is the one with the next number (of the last bank,
bank 0) and has the same row open, and all of .i8.
"""

from __future__ import annotations

import numpy as np

from isa import half
from isa.instruction import instruction
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.state import addresses, all_banks, check, count_commands, illegal, open_row, selected

LANES = 16
TABLES = 8                              # activation tables: AiM's modes 0..7
FORMS = ("f16", "bf16", "i8")           # by their number in the encoding
_OUTSIDE = {"f16": "f16", "bf16": "bf16", "i8": "i32"}


# ------------------------------------------------------------------------------------------------ runs


def _run(m, opsize, name, what):
    """Numbers of the columns of a run, (opsize,), from that in the CSR `name` on. Traps for none and for a run across the end of
    `what`, a row or the buffer."""
    first, columns = m.csr(name), m.preset.banks.columns
    if not 1 <= opsize <= columns - first:
        raise illegal(opsize, f"opsize {opsize} from {name} {first} on: {what} has columns 0..{columns - 1}" if opsize else
                      "opsize 0; expected at least 1")
    return np.arange(first, first + opsize)


def _run_of_row(m, opsize):
    """Numbers of the columns of a run in a row, (opsize,)."""
    return _run(m, opsize, "pim.column", "a row")


def _run_of_buffer(m, opsize):
    """Numbers of the columns of a run in the global buffer, (opsize,)."""
    return _run(m, opsize, "pim.buffer_column", "the global buffer")


def _one_bank(m, bank):
    """The number of the bank, (1,). Traps for one that there is not."""
    check(m, "bank", bank)
    return np.array([bank])


def _open(m, opsize, banks, row):
    """Open the row that a form names: (channels, addresses of the run's columns (channels, banks, opsize))."""
    channels, run = selected(m), _run_of_row(m, opsize)
    open_row(m, channels, banks, row)
    return channels, addresses(m, channels, banks, row, run)


def _read(m, places):
    """What the processors read from their banks: u8 (channels, banks, opsize, 32)."""
    m.count("pim.columns_read", places.size)
    return m.read_columns(places)


def _write(m, places, data):
    """Write u8 (channels, banks, opsize, 32), or as many bytes of another type, to the columns at these places."""
    m.count("pim.columns_written", places.size)
    m.write_columns(places, data)


def _buffers(m):
    """The global buffer of every channel, u8 (channels, columns, 32)."""
    return m.state["pim.global_buffer"].reshape(-1, m.preset.banks.columns, COLUMN_BYTES)


def _accumulators(m, channels, banks, dtype):
    """The accumulators of these banks, (channels, banks, 16); dtype u2: the low halves."""
    words = m.state["pim.accumulators"].reshape(-1, m.preset.banks.banks, LANES)[np.ix_(channels, banks)]
    return words.astype("<u2") if dtype == "<u2" else words.view(dtype)


def _set_accumulators(m, channels, banks, values):
    """Replace the accumulators of these banks, (channels, banks, 16): bits of 16, which leave zeros above, or of 32."""
    words = m.state["pim.accumulators"].reshape(-1, m.preset.banks.banks, LANES).copy()
    words[np.ix_(channels, banks)] = values if values.itemsize == 2 else values.view("<u4")
    m.set_state("pim.accumulators", words)


def _entered(m, channels, data_bytes):
    """Count bytes that go over each channel, in bursts of 32."""
    count_commands(m, "pim.write_commands", channels, -(-data_bytes // COLUMN_BYTES))
    m.count("pim.bytes_entered", len(channels) * data_bytes)


def _left(m, channels, data_bytes):
    """Count bytes that leave over each channel, in bursts of 32."""
    count_commands(m, "pim.read_commands", channels, -(-data_bytes // COLUMN_BYTES))
    m.count("pim.bytes_left", len(channels) * data_bytes)


# ------------------------------------------------------------------------------------------------ banks and buffers


@instruction("pim.wr_sbk      R4 opcode=0x7B funct3=2 funct2=3", "column pim.column of this row of this bank = x, in each channel",
             operands="x<u8[32] bank row", example="pim.wr_sbk a0, a1, a2")
def pim_wr_sbk(m, x, bank, row):
    data = m.read(x, COLUMN_BYTES)
    channels, places = _open(m, 1, _one_bank(m, bank), row)
    _write(m, places, np.broadcast_to(data, (*places.shape, COLUMN_BYTES)))
    _entered(m, channels, COLUMN_BYTES)


@instruction("pim.wr_abk      R  opcode=0x7B funct3=1 funct7=0x00",
             "column pim.column of this row = x, in all banks of each channel",
             operands="x<u8[32] row", example="pim.wr_abk a0, a1      # clear a column")
def pim_wr_abk(m, x, row):
    data = m.read(x, COLUMN_BYTES)
    channels, places = _open(m, 1, all_banks(m), row)
    _write(m, places, np.broadcast_to(data, (*places.shape, COLUMN_BYTES)))
    m.count("pim.broadcasts", len(channels))
    _entered(m, channels, COLUMN_BYTES)


@instruction("pim.rd_sbk      R  opcode=0x7B funct3=1 funct7=0x01",
             "dst = column pim.column of this row of this bank, of one channel after the other",
             operands="dst>u8[selected,32] bank row", example="pim.rd_sbk a0, a1, a2")
def pim_rd_sbk(m, dst, bank, row):
    channels, places = _open(m, 1, _one_bank(m, bank), row)
    m.write(dst, _read(m, places).reshape(-1))
    _left(m, channels, COLUMN_BYTES)


@instruction("pim.wr_gb       R  opcode=0x7B funct3=1 funct7=0x02",
             "opsize columns of the global buffer of each channel = x, from pim.buffer_column on",
             operands="x<u8[opsize,32] opsize", example="li a1, 32\npim.wr_gb a0, a1      # a vector of 512 fp16 numbers")
def pim_wr_gb(m, x, opsize):
    channels, run = selected(m), _run_of_buffer(m, opsize)
    buffers = _buffers(m).copy()
    buffers[np.ix_(channels, run)] = m.read(x, opsize * COLUMN_BYTES).reshape(opsize, COLUMN_BYTES)
    m.set_state("pim.global_buffer", buffers)
    m.count("pim.broadcasts", len(channels) * opsize)
    _entered(m, channels, opsize * COLUMN_BYTES)


@instruction("pim.copy_bkgb   R4 opcode=0x7B funct3=3 funct2=2",
             "a run of this row of this bank goes to the global buffer of its channel",
             operands="opsize bank row", example="li a0, 32\npim.copy_bkgb a0, a1, a2")
def pim_copy_bkgb(m, opsize, bank, row):
    channels, places = _open(m, opsize, _one_bank(m, bank), row)
    run = _run_of_buffer(m, opsize)
    buffers = _buffers(m).copy()
    buffers[np.ix_(channels, run)] = _read(m, places)[:, 0]
    m.set_state("pim.global_buffer", buffers)
    count_commands(m, "pim.read_commands", channels, opsize)
    m.count("pim.bytes_stayed", places.size * COLUMN_BYTES)


@instruction("pim.copy_gbbk   R4 opcode=0x7B funct3=3 funct2=3",
             "a run of the global buffer of each channel goes to this row of this bank",
             operands="opsize bank row", example="li a0, 32\npim.copy_gbbk a0, a1, a2")
def pim_copy_gbbk(m, opsize, bank, row):
    channels, places = _open(m, opsize, _one_bank(m, bank), row)
    run = _run_of_buffer(m, opsize)
    _write(m, places, _buffers(m)[np.ix_(channels, run)])
    count_commands(m, "pim.write_commands", channels, opsize)
    m.count("pim.bytes_stayed", places.size * COLUMN_BYTES)


# ------------------------------------------------------------------------------------------------ multiply-accumulate


def _operands(m, opsize, banks, row):
    """(channels, runs of the banks, what each is multiplied with, bytes read): runs are u8 (channels, banks, opsize, 32)."""
    if not m.csr("pim.next_bank"):
        channels, places = _open(m, opsize, banks, row)
        run = _run_of_buffer(m, opsize)
        weights = _read(m, places)
        return channels, weights, _buffers(m)[np.ix_(channels, run)][:, None], weights.size
    following = (banks + 1) % m.preset.banks.banks
    every = np.union1d(banks, following)
    channels, places = _open(m, opsize, every, row)
    runs = _read(m, places)
    return channels, runs[:, np.searchsorted(every, banks)], runs[:, np.searchsorted(every, following)], runs.size


def _mac(m, form, opsize, banks, row):
    """Every bank multiplies its run with that of its channel's global buffer, or with that of the next bank."""
    channels, weights, x, moved = _operands(m, opsize, banks, row)
    count_commands(m, "pim.compute_commands", channels, opsize)
    m.count("pim.macs", weights.size // (1 if form == "i8" else 2))
    m.count("pim.bytes_stayed", moved)
    if form == "i8":
        lanes = _accumulators(m, channels, banks, "<i4")
        lanes[..., 0] += np.sum(weights.view("i1") * x.view("i1").astype(np.int32), axis=(2, 3), dtype=np.int32)
    else:
        lanes = _accumulators(m, channels, banks, "<u2" if form == "f16" else "<f4")
        mac = half.f16_mac if form == "f16" else half.bf16_mac
        for a, b in zip(np.moveaxis(weights.view("<u2"), 2, 0), np.moveaxis(x.view("<u2"), 2, 0), strict=True):
            lanes = mac(lanes, a, b)
    _set_accumulators(m, channels, banks, lanes)


def _define_macs(number, form):
    size, outside = (4 if form == "i8" else 2), _OUTSIDE[form]
    sums = {"f16": "acc[j] = f16(acc[j] + f16(w * x)), element by element of lane j",
            "bf16": "acc[j] += w * x in fp32, element by element of lane j",
            "i8": "acc[0] += w * x in int32, all elements"}[form]

    @instruction(f"pim.wr_bias.{form} R opcode=0x7B funct3=1 funct7={0x10 + number:#x}",
                 "accumulator 0 of each bank = bias, the others 0: bank by bank of one channel after the other",
                 operands=f"bias<{outside}[selected,pim.banks]", example=f"pim.wr_bias.{form} a0")
    def wr_bias(m, bias):
        channels, banks = selected(m), all_banks(m)
        count = len(channels) * len(banks)
        values = m.read_i32(bias, count) if form == "i8" else m.read_u16(bias, count)
        if form == "bf16":
            values = half.f32_from_bf16(values)
        lanes = np.zeros((len(channels), len(banks), LANES), values.dtype)
        lanes[..., 0] = values.reshape(lanes.shape[:2])
        _set_accumulators(m, channels, banks, lanes)
        m.count("pim.accumulators_set", count)
        _entered(m, channels, size * len(banks))

    @instruction(f"pim.mac_sbk.{form} R4 opcode=0x7B funct3=2 funct2={number}",
                 f"in this bank of each channel, w a run of this row, x of the global buffer or the next bank: {sums}",
                 operands="opsize bank row", example=f"li a0, 32\npim.mac_sbk.{form} a0, a1, a2")
    def mac_sbk(m, opsize, bank, row):
        _mac(m, form, opsize, _one_bank(m, bank), row)

    @instruction(f"pim.mac_abk.{form} R opcode=0x7B funct3=1 funct7={0x18 + number:#x}",
                 f"in all banks of each channel, w a run of this row, x of the global buffer or the next bank: {sums}",
                 operands="opsize row", example=f"li a0, 32\npim.mac_abk.{form} a0, a1")
    def mac_abk(m, opsize, row):
        _mac(m, form, opsize, all_banks(m), row)

    @instruction(f"pim.rd_mac.{form} R opcode=0x7B funct3=1 funct7={0x20 + number:#x}",
                 {"f16": "dst = the 16 accumulators of each bank folded, 16 -> 8 -> 4 -> 2 -> 1, every sum rounded to f16",
                  "bf16": "dst = the 16 accumulators of each bank folded, 16 -> 8 -> 4 -> 2 -> 1, in fp32, then rounded to bf16",
                  "i8": "dst = accumulator 0 of each bank"}[form] + ": bank by bank of one channel after the other",
                 operands=f"dst>{outside}[selected,pim.banks]", example=f"pim.rd_mac.{form} a0")
    def rd_mac(m, dst):
        channels, banks = selected(m), all_banks(m)
        if form == "i8":
            m.write_i32(dst, _accumulators(m, channels, banks, "<i4")[..., 0])
        else:
            m.write_u16(dst, _folded(m, form, channels, banks))
        m.count("pim.readouts", len(channels) * len(banks))
        _left(m, channels, size * len(banks))


def _folded(m, form, channels, banks):
    """The sums of the accumulators of each bank, as bits: (channels, banks)."""
    if form == "f16":
        return half.f16_fold(_accumulators(m, channels, banks, "<u2"))
    return half.bf16_fold(_accumulators(m, channels, banks, "<f4"))


for _number, _form in enumerate(FORMS):
    _define_macs(_number, _form)

# ------------------------------------------------------------------------------------------------ activation


@instruction("pim.wr_aflut    R  opcode=0x7B funct3=1 funct7=0x03",
             "activation table `mode`, 0..7, of all channels = table: what the function is at the numbers with the bits 64 * i",
             operands="table<u8[2048] mode", example="li a1, 0\npim.wr_aflut a0, a1")
def pim_wr_aflut(m, table, mode):
    _check_mode(mode)
    channels = np.arange(m.preset.banks.channels)
    m.set_state("pim.af_tables", m.read(table, 2 * half.TABLE_LENGTH).view("<u2"), int(mode) * half.TABLE_LENGTH)
    m.count("pim.broadcasts", len(channels) * (2 * half.TABLE_LENGTH // COLUMN_BYTES))
    _entered(m, channels, 2 * half.TABLE_LENGTH)


def _check_mode(mode):
    """Trap for a number that is none of an activation table."""
    if mode >= TABLES:
        raise illegal(mode, f"activation mode {mode}; expected 0..{TABLES - 1}")


def _define_activation(number, form):
    @instruction(f"pim.af.{form}  R opcode=0x7B funct3=1 funct7={0x28 + number:#x}",
                 "activation of each bank = table `mode` at its accumulators folded as rd_mac does, linear between the entries",
                 operands="mode", example=f"li a0, 0\npim.af.{form} a0\npim.rd_af a1")
    def af(m, mode):
        _check_mode(mode)
        channels, banks = selected(m), all_banks(m)
        table = m.state["pim.af_tables"].reshape(TABLES, half.TABLE_LENGTH)[mode]
        results = m.state["pim.af_results"].reshape(-1, len(banks)).copy()
        function = half.f16_activation if form == "f16" else half.bf16_activation
        results[channels] = function(table, _folded(m, form, channels, banks))
        m.set_state("pim.af_results", results)
        count_commands(m, "pim.compute_commands", channels, 1)
        m.count("pim.elements", len(channels) * len(banks))


for _number, _form in enumerate(FORMS[:2]):
    _define_activation(_number, _form)


@instruction("pim.rd_af       R  opcode=0x7B funct3=1 funct7=0x04",
             "dst = the activation of each bank, 16 bits, bank by bank of one channel after the other",
             operands="dst>u8[selected,pim.banks,2]", example="pim.rd_af a0")
def pim_rd_af(m, dst):
    channels, banks = selected(m), all_banks(m)
    m.write(dst, m.state["pim.af_results"].reshape(-1, len(banks))[channels].reshape(-1).view(np.uint8))
    m.count("pim.readouts", len(channels) * len(banks))
    _left(m, channels, 2 * len(banks))


# ------------------------------------------------------------------------------------------------ element-wise


def _define_elementwise(number, form):
    product, total = (half.f16_product, half.f16_sum) if form == "f16" else (half.bf16_product, half.bf16_sum)

    @instruction(f"pim.ewmul.{form} R opcode=0x7B funct3=1 funct7={0x30 + number:#x}",
                 "in each bank group of pim.group_mask, a run of this row: bank 2 = bank 0 * bank 1, element by element",
                 operands="opsize row", example=f"li a0, 32\npim.ewmul.{form} a0, a1")
    def ewmul(m, opsize, row):
        organisation = m.preset.banks
        size = organisation.banks // organisation.bank_groups
        if size < 3:
            raise illegal(size, f"a bank group of {m.preset.name} has {size} banks; an element-wise product needs 3")
        groups = [group for group in range(organisation.bank_groups) if m.csr("pim.group_mask") >> group & 1]
        if not groups:
            raise illegal(m.csr("pim.group_mask"), f"no bank group is selected: {m.preset.name} has bits "
                                                   f"0..{organisation.bank_groups - 1} of pim.group_mask")
        banks = np.arange(organisation.banks).reshape(-1, size)[groups, :3].reshape(-1)
        channels, places = _open(m, opsize, banks, row)
        places = places.reshape(len(channels), -1, 3, opsize)                      # (channels, groups, 3, opsize)
        a, b = np.moveaxis(_read(m, places[:, :, :2]).view("<u2"), 2, 0)
        _write(m, places[:, :, 2], product(a, b))
        count_commands(m, "pim.compute_commands", channels, opsize)
        m.count("pim.elements", a.size)
        m.count("pim.bytes_stayed", places.size * COLUMN_BYTES)

    @instruction(f"pim.ewadd.{form} R opcode=0x7B funct3=1 funct7={0x38 + number:#x}",
                 "y += x, element by element of opsize columns of 32 bytes: in the controller, no bank takes part",
                 operands=f"y<>{form}[opsize,16] x<{form}[opsize,16] opsize", example=f"li a2, 32\npim.ewadd.{form} a0, a1, a2")
    def ewadd(m, y, x, opsize):
        count = opsize * LANES
        m.write_u16(y, total(m.read_u16(y, count), m.read_u16(x, count)))
        m.count("pim.elements", count)


for _number, _form in enumerate(FORMS[:2]):
    _define_elementwise(_number, _form)
