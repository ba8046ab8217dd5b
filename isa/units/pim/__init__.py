"""The pim unit: processing in the banks of a DRAM. Its UNIT stands here; its rows in three files, one for each level.

    commands.py       DRAM commands: activate, precharge, read, write, modes (level 1)
    microprograms.py  Samsung's micro-programs: registers, the commands that step them (level 2). Their words stand in crf.py
    macros.py         SK hynix's macro forms, which open and close rows by themselves (level 3)
    rules.py          what holds for many of them, for the manual: legal words, a step, the order of checks, counters

Encoding, opcode custom-3 (0x7B): levels 1 and 2 have funct3=0 (R) and funct3=3 with funct2=0, 1 (R4); macro forms funct3=1 (R),
funct3=2 (R4) and funct3=3 with funct2=2, 3 (R4). CSRs: 0x840-0x843 are the channel masks, 0x844-0x84F for macro forms.
All levels work on the same state through isa/units/pim/state.py.

Sources: Samsung's HBM-PIM as its simulator PIMSimulator describes it (README, src/PIMCmd.h, src/PIMRank.cpp): facts, no code;
SK hynix's GDDR6-AiM as aim_simulator describes it (README, src/base/request.h).
"""

from __future__ import annotations

from isa.timing.rates import queue_rates
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.units.pim.rules import CHECKS, EVENTS, MICROPROGRAMS

_BANKS, _BLOCKS = "pim.channels * pim.banks", "pim.channels * pim.blocks"

UNIT = Unit(
    "pim", "Processing in memory: bank commands, micro-programs, macro forms",
    """\
The hbm region is banks of a DRAM, and next to the banks stand small processors. A byte of it has a linear address, which loads,
stores and the other units use, and a place: channel, bank, row, column. A column is 32 bytes, 16 lanes of fp16 or 32 of int8. The
preset's mapping says which is where; `slimulator machines NAME` prints it. It names the parts of an address less that of the
region, the most significant first, with the byte in a column behind them: in `row column:3 bank channel column:2` four columns lie
side by side, then the same four of the next channel. A part with a number has that many bits of its coordinate, one without the
values that are left. The topmost part of a coordinate is its most significant; sizes need not be powers of two.

    channel c                                              channels 0..channels - 1, all alike
    +-----------------------------------+--------------+
    | bank group 0                      | bank group 1 |     banks are numbered through all groups
    |  +--------+ +--------+ +--------+ |  +--------+  |
    |  | bank 0 | | bank 1 | | bank 2 | |  | bank 4 |  |     rows of columns of 32 bytes
    |  |  even  | |  odd   | |  even  |...  |  even  |...
    |  |        | |        | |        | |  |        |  |
    |  +--------+ +--------+ +--------+ |  +--------+  |
    |  |open row| |open row| |open row| |  |open row|  |     one open row a bank, or none: at the start none
    |  +---+----+ +----+---+ +---+----+ |  +---+----+  |
    |      +-----+-----+         +---...|      +---... |
    |         block 0             block 1      block 2 |     a processor: GRF_A, GRF_B of 8 x 32 bytes, SRF of 16 fp16;
    |                                                  |     accumulators, 16 for each bank; one for each bank where
    +--------------------------------------------------+     the machine has as many blocks as banks, all even then
    | mode   CRF: 32 words, and where it stands        |     SB, HAB or HAB_PIM; the micro-program of all blocks
    | global buffer, as long as a row                  |     what a macro form multiplies a row with
    +--------------------------------------------------+

An operation works on every channel whose bit is set in the channel masks (`pim.channel_mask` has channels 0..63), on all of them
alike; at the start that is channel 0 alone. No channel, or one that the machine does not have, is a trap. Operands in memory that
hold something of each channel have that of the channels selected, by number.

Commands (`pim.act`, `pim.rd`, ...) do what a memory controller's do: a column is read and written in the open row of its bank, and
a command that the banks' state forbids traps. A channel is in one of three modes. In SB, at the start, a command goes to one bank;
in HAB to all even or all odd banks; in HAB_PIM a column command to these also makes every block execute an instruction of its
channel's micro-program. Modes change by `pim.mode.sb`, `pim.mode.hab`, `pim.mode.hab_pim`.

Loads, stores and other units see the same bytes by their linear addresses. They look at no row and no mode, open and close none,
and what they write is in an open row at once.

""" + MICROPROGRAMS + """

Macro forms are those of SK hynix's GDDR6-AiM: one instruction works on opsize columns of a row, from `pim.column` on, in one bank
or in all. It opens its row, and closes another one first, as AiM's controller does, and leaves it open; the next form or command
finds it so, and `pim.mode.hab` asks for `pim.pre.ab` before. `pim.wr_gb` puts a vector into the global buffers, `pim.mac_abk.f16`
multiplies a row of every bank with it, `pim.rd_mac.f16` reads the accumulators.

A MAC goes through the columns of its run in rising order. It multiplies element j of a column of the bank's row with element j of a
column of the global buffer (from `pim.buffer_column` on) or, with `pim.next_bank`, of the same column of the next bank in the same
row, which it opens too; the next bank has the next number, after the last comes bank 0. Accumulators hold words of 32 bits that
each form takes as its own:

    f16     16 fp16 numbers in the low halves. acc[j] = f16(acc[j] + f16(w[j] * x[j])). wr_bias and mac put zeros in the high halves
    bf16    16 fp32 numbers. acc[j] = f32(acc[j] + f32(w[j] * x[j])). wr_bias copies the bits of a bf16 to the high half
    i8      acc[0] is an int32: the sum of all 32 products of each column, modulo 2**32. mac leaves the 15 others as they are

Reading clears nothing; wr_bias sets acc[0] and clears acc[1..15]. What pim.rd_mac and pim.af make of the accumulators is f16_fold
and bf16_fold of arithmetic.md. Every NaN that an arithmetic form makes is the canonical one. What AiM's programs have besides:

    AiM                          here
    W, R GPR                     memory: a form takes an address where AiM's takes a register
    W, R MEM                     loads and stores in hbm
    W CFR 0, broadcast           pim.next_bank: what MAC_SBK and MAC_ABK multiply a bank's run with
    W CFR 1, EWMUL_BG            pim.group_mask: EWMUL in all bank groups, or in one
    W CFR 2, AFM                 the operand `mode` of pim.af
    SYNC, EOC                    sync.fence, the service exit

""" + CHECKS + "\n\n" + EVENTS,
    queue=5,
    csrs=(
        Csr("pim.channel_mask",  0x840, "bit c: operations work on channel c, c = 0..63", 1),
        Csr("pim.channel_mask1", 0x841, "bit c: operations work on channel 64 + c"),
        Csr("pim.channel_mask2", 0x842, "bit c: operations work on channel 128 + c"),
        Csr("pim.channel_mask3", 0x843, "bit c: operations work on channel 192 + c"),
        Csr("pim.column",        0x844, "first column of a macro form's run in its row"),
        Csr("pim.buffer_column", 0x845, "first column of a macro form's run in the global buffer"),
        Csr("pim.next_bank",     0x846, "1: MACs multiply with the next bank, 0: with the global buffer", 0, 1),
        Csr("pim.group_mask",    0x847, "bit g: element-wise products work in bank group g", (1 << 64) - 1),
    ),
    counters=spending("activations read_commands write_commands compute_commands columns_read "
                      "columns_written macs elements bytes_left bytes_entered", (
        Counter("pim.ops",              47, "instructions", "pim instructions retired"),
        Counter("pim.activations",      48, "rows",         "rows opened, in each bank by itself"),
        Counter("pim.precharges",       49, "rows",         "rows closed, in each bank by itself"),
        Counter("pim.row_hits",         50, "accesses",     "banks that a column command or a macro form found with the row open"),
        Counter("pim.row_conflicts",    51, "accesses",     "banks in which a macro form had to close another row first"),
        Counter("pim.read_commands",    52, "commands",     "column commands that read; one to all banks of a channel is one"),
        Counter("pim.write_commands",   53, "commands",     "column commands that write, to registers and buffers too"),
        Counter("pim.compute_commands", 54, "commands",     "column commands that the banks' processors execute, and activations"),
        Counter("pim.columns_read",     55, "columns",      "columns of 32 bytes read from open rows, in each bank by itself"),
        Counter("pim.columns_written",  56, "columns",      "columns of 32 bytes written to open rows, in each bank by itself"),
        Counter("pim.macs",             57, "MACs",         "multiply-accumulates done, those of MAD too, padding included"),
        Counter("pim.elements",         58, "elements",     "elements added, multiplied or moved in other ways"),
        Counter("pim.broadcasts",       59, "bursts",       "bursts of 32 bytes to many banks, all blocks or the global buffer"),
        Counter("pim.readouts",         60, "accumulators", "accumulators and activations read out, of each bank by itself"),
        Counter("pim.mode_switches",    61, "switches",     "mode switches, of each channel by itself"),
        Counter("pim.crf_steps",        62, "instructions", "micro-program instructions executed, without JUMP and EXIT"),
        Counter("pim.bytes_stayed",     64, "bytes",        "bytes that the banks' processors read from and wrote to their banks"),
        Counter("pim.bytes_left",       65, "bytes",        "bytes that went over a channel to the outside"),
        Counter("pim.bytes_entered",    66, "bytes",        "bytes that came over a channel, for all banks or for one"),
        Counter("pim.accumulators_set", 67, "accumulators", "accumulators set from outside, of each bank by itself"),
        Counter("pim.slots",            68, "commands",     "column commands of one channel; all that work get as many"),
        Counter("pim.any_opening",      69, "instructions", "instructions that opened a row in one bank or more"),
        Counter("pim.any_conflict",     70, "instructions", "those of them that closed another row first, in one bank or more"),
    )),
    parameters=(
        Parameter("pim.channels",    "channels",         "channels (pseudo-channels where the memory has them), at most 256"),
        Parameter("pim.bank_groups", "groups a channel", "bank groups of a channel; banks of a group have consecutive numbers"),
        Parameter("pim.banks",       "banks a channel",  "banks of a channel, those of all groups"),
        Parameter("pim.rows",        "rows a bank",      "rows of a bank"),
        Parameter("pim.columns",     "columns a row",    "columns of 32 bytes in a row"),
        Parameter("pim.blocks",      "blocks a channel", "processors of a channel: one for each bank, or for every two"),
        Parameter("pim.mapping",     "text",             "parts of an address: `row column:3 bank channel column:2`", str),
    ),
    rates=queue_rates("pim"),
    sound=lambda state, parameter: bool(
        (state["pim.mode"] <= 2).all() and (state["pim.open_row"] >= -1).all()
        and (state["pim.open_row"] < parameter("pim.rows")).all()),
    state=(
        StateArray("pim.open_row",      "i4", _BANKS,              "open row of each bank, -1: none", reset=-1),
        StateArray("pim.mode",          "u1", "pim.channels",      "mode of each channel: 0 SB, 1 HAB, 2 HAB_PIM"),
        StateArray("pim.global_buffer", "u1", "pim.channels * pim.columns * 32", "global buffer of each channel, a row long"),
        StateArray("pim.accumulators",  "u4", f"{_BANKS} * 16",    "16 of each bank: fp16 in the low half, fp32 or int32"),
        StateArray("pim.af_tables",     "u2", 8 * 1024,            "activation tables, modes 0..7, the same for all channels"),
        StateArray("pim.af_results",    "u2", _BANKS,              "what the last activation gave for each bank"),
        StateArray("pim.grf_a",         "f2", f"{_BLOCKS} * 128",  "GRF_A of each block, 8 registers of 16 lanes"),
        StateArray("pim.grf_b",         "f2", f"{_BLOCKS} * 128",  "GRF_B of each block, 8 registers of 16 lanes"),
        StateArray("pim.srf",           "f2", f"{_BLOCKS} * 16",   "SRF of each block: SRF_M 0..7, then SRF_A 0..7"),
        StateArray("pim.crf",           "u4", "pim.channels * 32", "CRF of each channel: the words of its micro-program"),
        StateArray("pim.crf_pc",        "u1", "pim.channels",      "entry of the CRF that the next column command executes"),
        StateArray("pim.crf_repeat",    "u4", "pim.channels",      "column commands that the entry at crf_pc has taken"),
        StateArray("pim.crf_jumps",     "u4", "pim.channels * 32", "times that the JUMP at each entry of the CRF has been taken"),
    ),
)

# Importing the levels fills the instruction table.
from isa.units.pim import commands, macros, microprograms  # noqa: E402, F401
