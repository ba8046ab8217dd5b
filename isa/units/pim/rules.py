"""Rules of the pim unit that hold for many of its instructions, as text of its page: which words of a micro-program are legal,
what a command does to one, in which order an instruction checks, what it counts.

The tables of words are made from SHAPES and Word.check (isa/units/pim/crf.py); tests/units/test_pim_rules.py holds each line of the
others to both engines.
"""

from __future__ import annotations

from textwrap import indent

from isa.units.pim.crf import EVEN_BANK, FILL, MOV, ODD_BANK, OPCODES, OPERANDS, PICTURE, SHAPES, CrfError, Word

_PLACES = ("dst", "src0", "src1", "src2")
_FIELDS = ("dst", "src0", "src1", "src2", "aam", "relu", "dst_index", "src0_index", "src1_index")
_NAMES = {opcode: name for name, opcode in OPCODES.items()}
_BANKS = (EVEN_BANK, ODD_BANK)


def _is_legal(word: Word) -> bool:
    try:
        word.check()
    except CrfError:
        return False
    return True


def legal_word(opcode: int, **fields: int) -> Word:
    """A word of an opcode that has operands, with these fields; the others are such that it is legal if these are."""
    kinds = [max(kinds) if place else min(kinds) for place, kinds in enumerate(SHAPES[opcode].operands)]
    if opcode == MOV and {fields.get("dst"), fields.get("src0")} & set(_BANKS):
        kinds = [max(kinds) for kinds in SHAPES[opcode].operands]           # a register on the other side
    return Word(opcode, **dict(zip(_PLACES, kinds, strict=False)) | fields)


def _line(*cells: str, widths: tuple[int, ...]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def classes() -> str:
    """Which class of operand stands where: a row for each operand of each opcode, a column for each class."""
    widths = (6, 6, *(len(name) + 2 for name in OPERANDS))
    lines = [_line("", "", *OPERANDS, widths=widths)]
    for opcode, shape in SHAPES.items():
        for place in range(len(shape.operands)):
            cells = []
            for kind in range(len(OPERANDS)):
                legal = _is_legal(legal_word(opcode, **{_PLACES[place]: kind}))
                cells.append("-" if not legal else "yes" if kind not in _BANKS else "read" if place else "write")
            lines.append(_line("" if place else _NAMES[opcode], _PLACES[place], *cells, widths=widths))
    return "\n".join(lines)


def _cell(opcode: int, field: str) -> str:
    """What may stand in a field of an opcode that has operands."""
    count = len(SHAPES[opcode].operands)
    if field in _PLACES:
        return "class" if _PLACES.index(field) < count else "."
    if field in ("aam", "relu"):
        return "0, 1" if _is_legal(legal_word(opcode, **{field: 1})) else "0"
    return "0..7" if _PLACES.index(field.removesuffix("_index")) < count else "."


def fields() -> str:
    """What may stand in the fields of a word: a row for each opcode that has operands."""
    widths = (6, 4, 7, 7, 7, 7, 6, 6, 11, 12, 12, 9)
    lines = [_line("", "", *(field.replace("_", " ") for field in _FIELDS), "commands", widths=widths)]
    for opcode in SHAPES:
        commands = "8" if opcode == FILL else "1, with aam 8" if SHAPES[opcode].aam else "1"
        lines.append(_line(_NAMES[opcode], str(opcode), *(_cell(opcode, field) for field in _FIELDS), commands, widths=widths))
    return "\n".join(lines)


_CLASSES = " ".join(f"{kind} {name}{'[0..7]' * (kind > ODD_BANK)} " for kind, name in enumerate(OPERANDS)).strip()

MICROPROGRAMS = f"""\
A micro-program is up to 32 words in the CRF. `.crf mac grf_b[0], grf_a[0], even_bank, aam` makes a word; R is ReLU:

{indent(PICTURE, "    ")}

The classes of operands are

    {_CLASSES}

and this is what the instructions do. SRF_M[i] and SRF_A[i] are a scalar each, which every lane gets.

    nop          nothing; with a write command the column = GRF_A[column mod 8] in even banks, GRF_B[column mod 8] in odd ones
    add          dst = src0 + src1
    mul          dst = src0 * src1
    mac          dst = dst + src0 * src1
    mad          dst = src0 * src1 + src2; the index of src1 is that of src2, too
    mov          dst = src0; to srf_m or srf_a: all 16 scalars, SRF_M[0..7] and SRF_A[0..7] = lanes 0..15 of src0
    fill         dst = src0
    jump 14      goes elsewhere; takes no command
    exit 15      ends the program

Sums and products are those of fp16, each rounded: mac and mad round the product, then the sum. A NaN that they make is 0x7E00; mov,
fill and nop copy bits, and ReLU makes +0 of all bits whose sign is set, NaN too. An instruction reads all that it reads before it
writes.

Which class may stand where:

{indent(classes(), "    ")}

`-`: the word is no instruction. read: in a read command (`pim.rd.pim`) alone, write: in a write command (`pim.wr.pim`) alone, and
only the bank of the parity that the command names. yes: in both. mov has a bank on one side at most. A word that names no bank is
executed by both commands; it needs the open rows of the command's banks all the same.

Which bits a word may have:

{indent(fields(), "    ")}

class: one that the table above allows. `.`: not looked at. 0: a word with a 1 is no instruction. 0..7: with 8..15 the word is no
instruction, even where aam or fill takes another number; the index of a bank is not looked at, nor are bits 14 and 13. Of nop bits
27..11 are not looked at, of exit bits 27..0. Every jump is legal. Opcodes 5, 6, 7, 10, 11, 12 and 13 are no instructions.

With aam, and in fill, GRF_A and GRF_B have the number column mod 8 in place of the index, but a GRF_A of mac has 4 * (row mod 2) +
(column / 8) mod 4, with the open row of the block's own bank. Scalars keep their index: aam does not step SRF. The column is that
of each command: nothing asks that eight commands name eight columns, or are of one kind.

A command executes one `.crf` word in each selected channel, one channel after the other by number, as follows. `crf_pc`,
`crf_repeat` and `crf_jumps` are the state of that name.

    1. The word at entry crf_pc is looked at, and while it is a JUMP with count and offset, which stands at entry e:
       if crf_jumps[e] = count:   crf_jumps[e] = 0, and the next word is that at e + 1
       otherwise:                 crf_jumps[e] is one more, and the next word is that at e + 1 - offset
       So offset 1 is the JUMP itself and offset 0 the entry behind it; count times it is taken, then it is passed, and it starts
       again with 0 when it is reached again.
    2. All blocks execute the word that is found, on the column of their own bank.
    3. crf_repeat is one more. If it is now what the word takes (nop n: n + 1 commands; the others: the last column above),
       crf_repeat = 0 and crf_pc is the entry behind the word; otherwise crf_pc is the entry of the word.

`pim.mode.hab_pim` sets the three to 0, nothing else does; what `pim.wr.crf` writes is kept in all modes. These trap with
ILLEGAL_OPERAND, in this order for each word that is looked at; a trap in one channel leaves all channels as they were:

    entry 32 is reached                                          mtval 32
    the word is no instruction                                   mtval the word
    EXIT                                                         mtval its entry
    a JUMP that this command has looked at already               mtval the word
    a JUMP to an entry below 0                                   mtval that entry, as 64 bits
    a bank of src0, src1, src2, then dst, that the command
    does not read, or does not write                             mtval 2 for even_bank, 3 for odd_bank"""

CHECKS = """\
What an instruction asks of the banks, first to last, with the modes that it works in. The first that fails traps, with
ILLEGAL_OPERAND. It comes after the checks of all instructions (traps.md), which look at `src`, `x`, `y` and `table`; `dst` and
`bias` are looked at where they stand here.

    pim.act                                     channels mode(SB) bank row closed
    pim.pre                                     channels mode(SB) bank
    pim.rd                                      channels mode(SB) bank open column dst
    pim.wr                                      channels mode(SB) bank open column
    pim.act.ab                                  channels row closed
    pim.pre.ab                                  channels
    pim.act.hab                                 channels mode(HAB,HAB_PIM) parity row closed
    pim.pre.hab                                 channels mode(HAB,HAB_PIM) parity
    pim.wr.hab                                  channels mode(HAB) parity open column
    pim.mode.sb                                 channels mode(HAB) closed
    pim.mode.hab                                channels mode(SB,HAB_PIM) closed
    pim.mode.hab_pim                            channels mode(HAB) zeroed
    pim.wr.crf                                  channels mode(HAB) index
    pim.wr.grf_a, pim.wr.grf_b                  channels mode(HAB,HAB_PIM) index
    pim.wr.srf                                  channels mode(HAB,HAB_PIM)
    pim.rd.pim, pim.wr.pim                      channels mode(HAB_PIM) parity open column word
    pim.wr_sbk                                  bank channels run row mode(SB)
    pim.wr_abk                                  channels run row mode(SB)
    pim.rd_sbk                                  bank channels run row mode(SB) dst
    pim.wr_gb                                   channels buffer
    pim.copy_bkgb, pim.copy_gbbk, pim.mac_sbk   bank channels run row mode(SB) buffer
    pim.mac_abk                                 channels run row mode(SB) buffer
    pim.wr_bias                                 channels bias
    pim.rd_mac, pim.rd_af                       channels dst
    pim.wr_aflut                                table-number
    pim.af                                      table-number channels
    pim.ewmul                                   group-size groups channels run row mode(SB)

    channels       a channel is selected                                           mtval 0
                   the machine has every channel that is selected                  mtval the highest one selected
    mode           every selected channel is in one of these modes                 mtval the mode of the first that is not: 0, 1, 2
    bank, row, column, parity, index, zeroed, table-number (the operand `mode`)
                   the operand is in range: parity less than the banks of a block, mtval the operand
                   index less than 4 for the CRF and 8 for GRF, zeroed less than
                   4, a table's number less than 8
    closed         no bank has an open row; pim.mode.hab: of the channels in SB    mtval the first bank that has one
    open           every bank has an open row                                      mtval the first bank that has none
    run            1 <= opsize <= columns of a row - pim.column                    mtval opsize; 1 where there is no operand
    buffer         1 <= opsize <= columns of a row - pim.buffer_column;            mtval opsize
                   pim.mac_* does not look at it while pim.next_bank is 1
    word           what stands above, channel by channel
    group-size     a bank group has at least 3 banks                               mtval the banks of a group
    groups         pim.group_mask has the bit of a bank group                      mtval pim.group_mask

First: of the channels by number, and in a channel of the banks by number. Bits of `pim.group_mask` beyond the bank groups are not
looked at where another one is set. `pim.ewadd` looks at no mask, mode or row; its opsize of 0 does nothing. `pim.wr_aflut` writes
the table of all channels, selected or not."""

EVENTS = """\
What an instruction counts besides `pim.ops`, with C selected channels, K channels of the machine, B banks and P blocks of a
channel, n = opsize, G bank groups of `pim.group_mask`, D the banks that mac_sbk opens (2 with `pim.next_bank`, otherwise 1); ceil
rounds up:

    pim.act                             activations C
    pim.act.ab                          activations C*B
    pim.act.hab                         activations C*P
    pim.rd                              row_hits C, read_commands C, columns_read C, bytes_left 32*C
    pim.wr                              row_hits C, write_commands C, columns_written C, bytes_entered 32*C
    pim.wr.hab                          row_hits C*P, write_commands C, columns_written C*P, broadcasts C, bytes_entered 32*C
    pim.mode                            mode_switches C
    pim.wr.crf, pim.wr.grf_a            write_commands C, broadcasts C, bytes_entered 32*C
    pim.wr.grf_b, pim.wr.srf            write_commands C, broadcasts C, bytes_entered 32*C
    pim.rd.pim, pim.wr.pim              row_hits C*P, compute_commands C, crf_steps C
    pim.wr_sbk                          write_commands C, columns_written C, bytes_entered 32*C
    pim.wr_abk                          write_commands C, columns_written C*B, broadcasts C, bytes_entered 32*C
    pim.rd_sbk                          read_commands C, columns_read C, bytes_left 32*C
    pim.wr_gb                           write_commands n*C, broadcasts n*C, bytes_entered 32*n*C
    pim.copy_bkgb                       read_commands n*C, columns_read n*C, bytes_stayed 32*n*C
    pim.copy_gbbk                       write_commands n*C, columns_written n*C, bytes_stayed 32*n*C
    pim.wr_bias.f16, pim.wr_bias.bf16   accumulators_set C*B, write_commands C*ceil(2*B/32), bytes_entered 2*C*B
    pim.wr_bias.i8                      accumulators_set C*B, write_commands C*ceil(4*B/32), bytes_entered 4*C*B
    pim.mac_sbk.f16, pim.mac_sbk.bf16   compute_commands n*C, columns_read D*n*C, macs 16*n*C, bytes_stayed 32*D*n*C
    pim.mac_sbk.i8                      compute_commands n*C, columns_read D*n*C, macs 32*n*C, bytes_stayed 32*D*n*C
    pim.mac_abk.f16, pim.mac_abk.bf16   compute_commands n*C, columns_read n*C*B, macs 16*n*C*B, bytes_stayed 32*n*C*B
    pim.mac_abk.i8                      compute_commands n*C, columns_read n*C*B, macs 32*n*C*B, bytes_stayed 32*n*C*B
    pim.rd_mac.f16, pim.rd_mac.bf16     readouts C*B, read_commands C*ceil(2*B/32), bytes_left 2*C*B
    pim.rd_mac.i8                       readouts C*B, read_commands C*ceil(4*B/32), bytes_left 4*C*B
    pim.wr_aflut                        write_commands 64*K, broadcasts 64*K, bytes_entered 2048*K
    pim.af                              compute_commands C, elements C*B
    pim.rd_af                           readouts C*B, read_commands C*ceil(2*B/32), bytes_left 2*C*B
    pim.ewmul                           compute_commands n*C, elements 16*n*G*C, columns_read 2*n*G*C, columns_written n*G*C,
                                        bytes_stayed 96*n*G*C
    pim.ewadd                           elements 16*n

`slots` is what one channel gets: the sum of read_commands, write_commands and compute_commands above, with 1 in place of C and K.
`any_opening` is 1 for an instruction that counts an activation, `any_conflict` is 1 for one that counts a row conflict.

`pim.pre`, `pim.pre.ab` and `pim.pre.hab` count a precharge of each of their banks that has an open row. A macro form that opens a
row counts, of each bank that it opens, a row hit where the row was open; elsewhere an activation, and where another row was open a
row conflict and a precharge. A step counts besides, in each channel: 16*P macs for mac and mad, 16*P elements for add, mul, mov,
fill and for nop in a write command; where a source is a bank, P columns read, one for each block however many sources name it, and
32*P bytes that stayed; where a bank is written, P columns written and 32*P bytes that stayed. A nop in a read command counts none
of these. Columns of banks are no bytes of hbm to the counters; operands in memory are bytes of their regions."""
