"""How units compute addresses, and what strides are legal, for docs/isa/traps.md. tests/emulator/test_addresses.py holds it."""

from __future__ import annotations

from typing import NamedTuple

from isa.manual.document import Block, Paragraph, Table

ADDRESSES = """
An address is a number without sign. What a unit adds and multiplies to find one is exact: nothing wraps around at 2**64. What
does not lie below 2**64 lies in no region: LOAD_ACCESS or STORE_ACCESS, and mtval is the low 64 bits of the address. Only the loads
and stores of the core add modulo 2**64, x[rs1] + imm; their bytes do not go on at address 0 either.

Where an operand has several rows at a stride, it is checked as a whole, from the start of its first row to the end of its last one,
gaps included; mtval is its address. Rows that an index list names, those of `fetch.rows`, of `fetch.scatter` and of a cache with
`attn.row_list`, are checked one by one, in the order of the list, each with all of its bytes; mtval is the address of the first one
that is wrong. `thr.select` checks the row of levels, then the one number that it reads. `thr.ranges` checks the two bounds of each
range that it comes to."""

STRIDES = """
A stride is a number of bytes without sign, from the start of a row to the start of the next one. 0 means what the table says. Any
other number is a multiple of the bytes of an element, or of what else is written here, and at least the bytes of a row: rows do not
overlap. Otherwise it is an ILLEGAL_OPERAND with the stride as mtval. This is checked of every operation that has a row, be it one
row alone, and before the memory over which the stride goes. There is one exception: rows that `fetch.copy2d` and `fetch.rows` read
may overlap, as those of a sliding window do, so that for them every `fetch.src_stride` is legal."""


class Stride(NamedTuple):
    """A stride of some instructions."""

    csr: str
    instructions: tuple[str, ...]           # beginnings of mnemonics
    zero: str                               # what 0 means; "": it is not legal
    multiple: str
    least: str


STRIDE_RULES: tuple[Stride, ...] = (
    Stride("vec.row_stride", ("vec.gemv.", "vec.macT."), "packed rows", "the bytes of a weight", "vec.cols weights"),
    Stride("vec.row_stride", ("vec.conv.", "vec.depthwise."), "packed rows", "1", "the weights of an output, or of a tap"),
    Stride("vec.result_stride", ("vec.conv.", "vec.depthwise.", "vec.maxpool.", "vec.meanpool.", "vec.layernorm.i8",
                                 "vec.softmax.i8", "vec.requant.", "sp.conv.", "sp.depthwise."),
           "packed results", "1", "the results of a window"),
    Stride("lut.row_stride", ("lut.mac.", "lut.macT.", "lut.gemv.", "lut.xnor"), "packed rows", "1",
           "the bytes of a row of weights; looked at only if it has any"),
    Stride("lut.codes_stride", ("lut.build.",), "packed vectors", "1", "the bytes of a vector; looked at only if it has any"),
    Stride("lut.scale_stride", ("lut.build.i8",), "packed vectors", "4", "the scales of a vector; looked at only if it has any"),
    Stride("lut.result_stride", ("lut.mac.", "lut.macT.", "lut.gemv.", "lut.xnor"), "packed vectors", "4",
           "the results of a vector; looked at only if it has any"),
    Stride("sp.codes_stride", ("sp.build.i8",), "packed vectors", "1", "the bytes of a vector; looked at only if it has any"),
    Stride("sp.codes_stride", ("sp.build.f32",), "packed vectors", "4", "the bytes of a vector; looked at only if it has any"),
    Stride("sp.scale_stride", ("sp.build.i8",), "packed vectors", "4", "the scales of a vector; looked at only if it has any"),
    Stride("sp.result_stride", ("sp.mac.", "sp.macT.", "sp.gemv."), "packed vectors", "4",
           "the results of a vector; looked at only if it has any"),
    Stride("cim.codes_stride", ("cim.build.i8",), "packed vectors", "1", "the bytes of a vector; looked at only if it has any"),
    Stride("cim.scale_stride", ("cim.build.i8",), "packed vectors", "4", "the scales of a vector; looked at only if it has any"),
    Stride("cim.result_stride", ("cim.mac", "cim.gemv", "cim.spread.", "cim.join."), "packed vectors", "4",
           "the results of a vector; looked at only if it has any"),
    Stride("fetch.src_stride", ("fetch.copy2d", "fetch.rows"), "fetch.row_bytes", "1", "1: rows may overlap"),
    Stride("fetch.src_stride", ("fetch.scatter",), "fetch.row_bytes", "1", "fetch.row_bytes"),
    Stride("fetch.dst_stride", ("fetch.copy2d", "fetch.rows", "fetch.scatter"), "fetch.row_bytes", "1", "fetch.row_bytes"),
    Stride("attn.key_stride", ("attn.mac.",), "packed rows", "the bytes of an element; 4 with int8",
           "a row of all heads of the cache, int8 scales included"),
    Stride("attn.key_stride", ("attn.xmac.", "attn.xpose."), "", "the bytes of an element; 4 with int8",
           "the elements of a channel: n, or position + 1"),
    Stride("attn.value_stride", ("attn.macT.", "attn.context."), "packed rows", "the bytes of an element; 4 with int8",
           "a row of all heads of the cache, int8 scales included"),
    Stride("attn.score_stride", ("attn.mac.", "attn.xmac.", "attn.sfm.", "attn.mvsb.", "attn.exp.", "attn.mvgb.", "attn.macT.",
                                 "attn.context."), "packed rows", "4", "n scores"),
    Stride("attn.list_stride", ("attn.mac.", "attn.macT.", "attn.context."), "one list for all heads", "4",
           "n numbers; looked at only if attn.row_list is not 0"),
    Stride("attn.mask_stride", ("attn.sfm.", "attn.mvsb.", "attn.exp."), "one mask for all heads", "1",
           "n bits in whole bytes; looked at only if attn.mask is not 0"),
)


def addresses() -> list[Block]:
    """The chapter's blocks, without its heading."""
    def names(rule: Stride) -> str:
        return ", ".join(f"`{name}*`" if name.endswith(".") else f"`{name}`" for name in rule.instructions)

    paragraphs = [Paragraph(part) for part in (*ADDRESSES.strip().split("\n\n"), STRIDES.strip())]
    return [*paragraphs, Table(("CSR", "instructions", "0 means", "a multiple of", "at least"), [
        (f"`{rule.csr}`", names(rule), rule.zero or "not legal", rule.multiple, rule.least) for rule in STRIDE_RULES])]
