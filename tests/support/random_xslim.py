"""Random programs for hypothesis. What comes out is assembly text, so that a found case can be read, kept and run again.

A program sets up registers, a handler or none, and CSRs, and then takes some steps: Xslim instructions with operands and
settings, chains of them that hand data on (`lut.build` then `lut.mac`, `thr.index` then `fetch.rows`, a tag and its wait), base
instructions, loops, jumps, services, stores to code. Memory has one area for each kind of operand, so instructions find what
others have left there. Most of what is drawn is legal; the rest is misaligned, too long, over an edge, absurd.

hypothesis draws bytes, each step its own, and a `Source` spells choices with them. The byte 0 makes the plainest choice,
and a step of zeros is none: so what hypothesis does to shorten and simplify bytes shortens and simplifies a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import accumulate
from typing import TypeVar

from hypothesis import strategies as st

from emulator import units  # noqa: F401 - fills the instruction table
from isa.csrs import CSRS
from isa.instruction import TABLE, Operand, Row

T = TypeVar("T")
Lines = list[str]


class Source:
    """Choices out of some bytes, one or two bytes each. At their end all are zero."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def below(self, end: int) -> int:
        """A number 0 .. end - 1."""
        number = next(self._bytes, 0)
        for _ in range((end.bit_length() - 1) // 8):
            number = number << 8 | next(self._bytes, 0)
        return number % end

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def rarely(self, once_in: int = 24) -> bool:
        return self.below(once_in) == once_in - 1


# ---------------------------------------------------------------------------------------------------- numbers

WORDS = (0, 1, 0x3F80_0000, 0xBF80_0000, 0x4000_0000, 0x3F00_0000, 0x4120_0000, 0xC0A0_0000, 0x3DCC_CCCD, 0x42B1_7218, 0x437F_0000,
         0x8000_0000, 0x7FC0_0000, 0xFFC0_1234, 0x7F80_0001, 0x7F80_0000, 0xFF80_0000, 0x8000_0001, 0x007F_FFFF, 0x0080_0000,
         0x7F7F_FFFF, 0xFF7F_FFFF, 0x4F00_0000, 0xC2CF_F1B5, 0x4B00_0001, 0x0403_0201, 0x5555_5555, 0xA5C3_0FF0, 0xFFFF_FFFF)
NUMBERS = (0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 0x7F, 0x80, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 62) + 1,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)
LENGTHS = (16, 0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 17, 31, 32, 33, 63, 64, 65, 100, 128, 129, 256)
FEW = (1, 0, 2, 3, 4, 5, 7, 8)
# Longer ones than 5,000 that fit a region would be executed: the reference takes 100 bytes of memory for an element.
ABSURD = (300, 1000, 5000, 1 << 40, (1 << 40) + 1, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 64) - 4)


def word(source: Source) -> int:
    """32 bits: mostly an fp32 number of some kind."""
    return source.below(1 << 32) if source.rarely(4) else source.one_of(WORDS)


def number(source: Source) -> int:
    return source.below(1 << 64) if source.rarely(4) else source.one_of(NUMBERS)


# ---------------------------------------------------------------------------------------------------- memory

# Areas by what the instructions keep there, with the number formats that are looked for in them.
AREAS = {"x": ("f32", "f16", "bf16"), "y": ("f32",), "z": ("f32",), "sums": ("i32",), "codes": ("i8", "u8"), "weights": (),
         "mask": ("b1",), "index": ("u32",), "scales": ("f32",), "program": (), "rising": ()}
SECTIONS = (".sram", ".data", ".hbm", ".flash")
EDGES = [base + offset & (1 << 64) - 1
         for base in (0x0200_0000, 0x0201_0000, 0x1000_0000, 0x1001_0000, 0x8000_0000, 0x8002_0000, 0x20_0000_0000, 0x20_0001_0000,
                      0x10_0000_0000, 0, 1 << 63)
         for offset in (-64, -8, -4, -1, 0, 1, 4, 16)]
PLACES = [f"{name}{offset:+}" for name in AREAS for offset in (0, 4, 16, 64, 1, 2, -1, -4)] + [
    "_start", "L1", "L1-16", "handler", *map(hex, EDGES)]


# Of micro-programs; what a read command to even banks executes is more often there.
CRF_WORDS = ("mac grf_b[0], grf_a[0], even_bank, aam", "nop 1", "mov grf_a[1], even_bank, relu", "fill grf_b[0], even_bank", "exit",
             "add grf_a[2], srf_a[1], even_bank", "mul grf_b[3], even_bank, srf_m[2]", "mad grf_a[4], grf_b[1], srf_m[3], srf_a[3]",
             "jump 2, 2", "fill grf_b[0], odd_bank", "mov odd_bank, grf_a[5]", "nop 0", "mac grf_b[1], grf_a[2], odd_bank",
             "jump 1, 4")


def area(name: str, source: Source) -> Lines:
    """One area: a section and 1 to 1152 bytes, a short pattern again and again."""
    where, times = source.one_of(SECTIONS[:3] if name in ("y", "sums") else SECTIONS), source.one_of((12, 2, 1))
    data = [source.below(256) for _ in range(1 + source.below(24))]
    if name == "index":
        line = ".word " + ", ".join(str(byte % 16 if byte < 250 else byte << 24) for byte in data)
    elif name == "rising":
        line = ".word " + ", ".join(map(str, accumulate((byte % 3 for byte in data), initial=0)))
    elif name == "program":
        line = "\n".join(f".crf {CRF_WORDS[byte % len(CRF_WORDS)]}" if byte < 250 else f".word {byte << 24}" for byte in data)
    elif name in ("codes", "weights", "mask"):
        line = ".byte " + ", ".join(map(str, data))
    else:
        line = ".word " + ", ".join(hex(WORDS[byte % len(WORDS)] if byte < 200 else byte * 0x0101_0101) for byte in data)
    return [f".section {where}", ".balign 16", f"{name}:", f".rept {times}", line, ".endr"]


def address(operand: Operand, source: Source) -> str:
    """Where an operand lies: in an area that has its format, a little behind its start, anywhere else now and then."""
    if source.rarely():
        return source.one_of(PLACES)
    form = operand.shape.partition("[")[0]
    names = [name for name, forms in AREAS.items() if form in forms and name != "scales"]
    if operand.name in ("W", "codes") or (operand.name, form) == ("table", "u8"):
        names = ["weights"]
    elif operand.name == "scale":
        names = ["scales"]
    elif operand.shape == "u32[8]":
        names = ["program"]
    elif operand.shape == "u8[stored]":             # small numbers, so packets of few bits
        names = ["index"]
    elif operand.access == ">":
        names = [name for name in names if name != "x"] or ["y"]
    return f"{source.one_of(names or ['x'])}{source.one_of(('', '', '', '+64', '+16', '+4'))}"


# ---------------------------------------------------------------------------------------------------- CSRs

SETTINGS: dict[str, tuple[int | str, ...]] = {      # the first one is there when a program starts; a name: its address
    "vec.cols": (8, 1, 3, 16, 17, 33, 64), "vec.row_stride": (0, 32, 64, 68, 4, 6),
    "vec.eps": (0x3727_C5AC, 0, 0x7FC0_0000, 1 << 31), "vec.scale_group": (0, 1, 4, 5, 16, 32), "vec.head_dim": (8, 2, 4, 6, 16, 3),
    "vec.windows": (0x1_0001, 0x1_0002, 0x2_0003, 0, 0x2_0001), "vec.taps": (0x1_0001, 0x1_0002, 0x2_0002, 0x2_0001, 0),
    "vec.step": (8, 0, 1, 16), "vec.window_line": (16, 0, 8), "vec.line": (16, 0, 8), "vec.outputs": (4, 1, 5, 17, 0),
    "vec.result_stride": (0, 0, 16, 64, 3), "vec.offsets": (0x80, 0, 0xFFFE_0080_0003), "vec.clamp": (0x7F80, 0x7F80, 0x0A00),
    "vec.bias": (0, "sums", "x"), "vec.multipliers": ("sums", "x", "y"), "vec.shifts": ("index", "index", "index", "codes"),
    "vec.left": (0, 20, 31), "vec.cutoff": (248, 3), "vec.rounding": (0, 1), "sp.stream": (2, 0, 4, 7),
    "lut.mode": (0, 1, 2), "lut.row_stride": (0, 16, 8, 5, 64, 70), "lut.scale_group": (0, 4, 16, 5, 32),
    "lut.shift": (0, 1, 8, 31), "lut.vectors": (2, 0, 3, 1, 5), "lut.codes_stride": (0, 16, 70, 20, 5),
    "lut.scale_stride": (0, 64, 4, 16, 6), "lut.result_stride": (0, 64, 32, 36, 6),
    "lut.pieces": (1, 0, 2, 5), "lut.centres": (0, 0, 256, 12), "lut.pairs": (0, 1, 0, 7),
    "sp.meta": ("mask", "codes", "weights"), "sp.nm": (0x0101, 0x0202, 0x0402, 0x0804, 0x0503), "sp.block": (1, 2, 4, 16),
    "sp.cols": (16, 0, 1, 3, 8, 33, 64), "sp.scales": ("scales", "x"), "sp.scale_group": (0, 4, 16, 5), "sp.shift": (0, 1, 8, 31),
    "sp.vectors": (2, 0, 3, 1), "sp.codes_stride": (0, 16, 64, 20), "sp.scale_stride": (0, 64, 4, 6),
    "sp.result_stride": (0, 64, 36, 6), "sp.offsets": ("rising", "index", "mask"), "sp.block_rows": (1, 2, 16, 64),
    "cim.vectors": (1, 0, 2, 3), "cim.codes_stride": (0, 16, 9, 5), "cim.scale_stride": (0, 8, 4, 6),
    "cim.result_stride": (0, 64, 32, 6), "cim.scale_group": (0, 0, 8, 3), "cim.shift": (0, 1, 8, 31),
    "cim.x_scales": ("scales", "x"), "cim.scales": ("scales", "x"), "cim.first": (0, 0, 1, 2), "cim.meta": ("mask", "codes"),
    "cim.nm": (0x0201, 0x0201, 0x0404, 0x0402), "cim.cols": (8, 8, 16, 3), "cim.block": (4, 4, 2, 8), "cim.map": (1, 2),
    "cim.factor": (2, 2, 1, 3), "cim.across": (1, 1, 2), "cim.adc": (0, 8, 0x0205),
    "thr.levels": (4, 1, 2, 7), "thr.budget": (5, 0, 1, 40), "fetch.tag": (0, 1, 2, 63), "fetch.row_bytes": (16, 1, 4, 7, 64, 100),
    "fetch.src_stride": (0, 16, 20, 3), "fetch.dst_stride": (0, 16, 64, 3), "fetch.table_rows": (16, 0, 12, 4),
    "fetch.chunk_table": ("weights", "index", "codes"), "fetch.chunk_bytes": (2, 1, 4, 16, 0),
    "pim.channel_mask": (1, 2, 3), "pim.channel_mask1": (0,), "pim.channel_mask2": (0,), "pim.channel_mask3": (0,),
    "pim.column": (0, 1, 30), "pim.buffer_column": (0, 2, 31), "pim.next_bank": (0, 1),
    "pim.group_mask": ((1 << 64) - 1, 1, 2),
    "attn.scale": (0x3F80_0000, 0xBF00_0000, 0x7FC0_0000, 0),
    "attn.key_stride": (32, 0, 64, 68, 36), "attn.value_stride": (0, 64, 68, 66),
    "attn.score_stride": (0, 32, 64, 36, 6), "attn.row_list": (0, "index", "index", "sums"), "attn.list_stride": (0, 0, 16, 32, 2),
    "attn.mask": (0, "mask", "codes"), "attn.mask_stride": (0, 1, 3, 32)}
ILLEGAL = (3, 5, 32, 64, 1000, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 64) - 4)
CSR_NAMES = [name for name in CSRS if name not in ("mtvec", "time")]


def setting(source: Source, unit: str = "") -> Lines:
    """A CSR of a unit, of any unit, is set."""
    name = source.one_of([name for name in SETTINGS if name.startswith(unit)])
    value = source.one_of(ILLEGAL if source.rarely(12) else SETTINGS[name])
    return [f"{'la' if isinstance(value, str) else 'li'} t0, {value}", f"csrw {name}, t0"]


# ---------------------------------------------------------------------------------------------------- Xslim

XSLIM = [row for row in TABLE.values() if row.is_xslim]
COUNT = "s2"            # the register that results go to mostly, and lengths come from now and then


def operation(source: Source, row: Row, counted: bool = False) -> Lines:
    """An Xslim instruction with its operands in registers; `counted`: its length is what an instruction before has returned."""
    lines, names = [], []
    for i, operand in enumerate(row.operands):
        name = source.one_of(("a0", "zero", COUNT, "t6")) if source.rarely(40) else f"a{i}"
        if operand is row.result:
            name = source.one_of((COUNT, COUNT, "a0", "zero"))
        elif operand.role == "address":
            lines.append(f"la {name}, {address(operand, source)}")
        elif operand.role == "f32":
            lines.append(f"li {name}, {word(source):#x}")
        elif operand.role == "value" and row.unit == "cim" and not source.rarely(12):
            usual = (0, 0, 0, 1) if operand.name == "first" else (1, 1, 2, 0) if operand.name == "f" else (8, 8, 8, 5)
            lines.append(f"li {name}, {source.one_of(usual)}")
        elif operand.name in row.lengths and (counted or source.rarely(12)):
            name = COUNT
        elif operand.name in row.lengths:
            usual = FEW if operand.name in ("rows", "cols", "count", "k") or row.unit == "attn" else LENGTHS
            lines.append(f"li {name}, {source.one_of(ABSURD if source.rarely() else usual)}")
        elif operand.name in ("parity", "zeroed", "bank", "index") and row.unit == "pim" and not source.rarely(12):
            lines.append(f"li {name}, {source.below(2)}")
        elif operand.name == "tag":
            lines.append(f"li {name}, {source.one_of((0, 3, 63, 64, 1 << 32) if source.rarely(12) else (1, 2))}")
        else:
            lines.append(f"li {name}, {number(source) if source.rarely(12) else source.one_of(FEW)}")
        names.append(name)
    return [line for line in lines if " zero," not in line] + [f"{row.mnemonic} {', '.join(names)}"]


# Instructions that hand something on: unit state, an index list and its length, a tag, intermediate results. * is any suffix.
CHAINS = (
    "lut.build.i8 lut.mac.*", "lut.build.i8 lut.gemv.*", "lut.build.i8 lut.macT.* lut.mac.*", "lut.build.b1 lut.xnor lut.mac.*",
    "lut.part.i8 lut.build.i8 lut.mac.*", "vec.cvt.i32.f32 lut.part.i16 lut.build.i8 lut.mac.*",
    "lut.plane lut.build.b1 lut.xnor", "lut.build.i8 lut.xnor lut.xnor", "lut.build.b1 lut.gemv.*",
    "lut.codebook.i8 lut.build.i8 lut.mac.c* lut.gemv.c*",
    "lut.codebook.f32 lut.decode.*", "lut.build.i8 lut.mac.b1 lut.reuse.u8 lut.mac.t2",
    "vec.quant.i8 lut.build.i8 lut.mac.* vec.dequant.i32",
    "vec.quant.i8 vec.gemv.i8 vec.dequant.i32", "thr.gt.f32 thr.index fetch.rows", "thr.absgt.f32 thr.index fetch.scatter",
    "thr.topk.f32 fetch.rows", "thr.bottomk.f32 fetch.rows vec.sum.f32", "thr.prefix fetch.copy2d",
    "thr.bottomk.f32 thr.ranges fetch.rows",
    "sp.build.i8 sp.mac.*", "sp.build.i8 sp.macT.*", "sp.build.i8 sp.gemv.*.i* vec.sum.f32", "sp.build.f32 sp.gemv.*.f*",
    "sp.build.i8 sp.mac.bm.* sp.macT.bm.i8", "sp.build.i8 sp.macT.bm.i4 sp.gemv.bm.t2", "sp.build.i8 sp.gemv.bm.t2 sp.macT.bm.*",
    "sp.build.i8 sp.mac.nm.* sp.expand.nm.*", "sp.build.i8 sp.mac.cs.* sp.gemv.bl.i8",
    "sp.build.i8 sp.gemv.*.t2 sp.gemv.*.t2", "sp.build.i8 sp.macT.*.t2 sp.macT.*.t2", "sp.build.i8 sp.macT.cs.* sp.mac.bl.t2",
    "sp.build.i8 sp.gemv.cs.* sp.gemv.bl.*", "sp.build.i8 sp.macT.nm.* sp.macT.cs.i4", "sp.build.f32 sp.gemv.bl.f* sp.gemv.bm.f16",
    "sp.build.f32 sp.gemv.cs.f16 sp.expand.bl.*", "sp.compress.bm.i8 sp.expand.bm.i8",
    "sp.compress.bm.f32 sp.build.f32 sp.gemv.bm.f32",
    "cim.build.i8 cim.load.nm cim.mac", "cim.load.nm cim.build.i8 cim.gemv", "cim.build.i8 cim.load.nm cim.gemv cim.mac",
    "cim.build.i8 cim.load.bd cim.spread.*", "cim.load.bd cim.build.i8 cim.join.*", "cim.load.bd cim.load.nm cim.spread.*",
    "vec.conv.i8 vec.depthwise.i8 vec.maxpool.i8", "vec.conv.i8 vec.layernorm.i8 vec.softmax.i8", "vec.add.i8 vec.meanpool.i8",
    "lut.build.i8 lut.mac.* vec.requant.i8", "sp.conv.rl.i8 sp.depthwise.rl.i8 vec.add.i8",
    "thr.select thr.gt.f32 thr.index", "vec.gemv.* vec.softmax.f32 vec.macT.*", "vec.cvt.* vec.cvt.* vec.rmsnorm.f32",
    "vec.argmax.f32 vec.fill.32", "vec.rope.f32 vec.gemv.*", "fetch.copy sync.wait", "fetch.unpack fetch.unpack lut.build.i8",
    "fetch.rows sync.wait.* vec.*",
    "sync.signal.* sync.wait.* sync.fence", "pim.pre.ab pim.act pim.pre", "pim.pre.ab pim.act.ab pim.wr pim.rd",
    "pim.pre.ab pim.mode.hab pim.act.hab pim.wr.hab pim.pre.hab pim.mode.sb",
    "pim.pre.ab pim.mode.hab pim.wr.crf pim.wr.grf_a pim.mode.hab_pim pim.act.ab pim.rd.pim pim.rd.pim pim.wr.pim",
    "pim.pre.ab pim.mode.hab pim.wr.grf_b pim.wr.srf pim.act.hab pim.mode.hab_pim pim.rd.pim pim.wr.pim pim.mode.hab pim.mode.sb",
    "pim.wr_gb pim.wr_bias.* pim.mac_abk.* pim.rd_mac.*", "pim.copy_bkgb pim.mac_sbk.* pim.af.* pim.rd_af",
    "pim.wr_aflut pim.wr_bias.* pim.af.* pim.rd_af", "pim.wr_abk pim.ewmul.* pim.copy_gbbk pim.rd_sbk", "pim.wr_sbk pim.mac_abk.*",
    "attn.wrgb.f32 attn.mac.f32 attn.sfm.f32 attn.context.f32", "attn.wrgb.f32 attn.mac.f16 attn.sfm.f32 attn.macT.f16",
    "attn.wrgb.i8 attn.mac.i8 attn.sfm.f32 attn.macT.i8", "attn.wrgb.i8 attn.mac.i8 attn.context.i8",
    "attn.wrgb.f32 attn.mac.* attn.mvsb.f32 attn.exp.f32 attn.mvgb.f32", "attn.xpose.* attn.wrgb.* attn.xmac.*",
    "attn.setm attn.wrgb.* attn.mac.*", "attn.seth attn.wrgb.* attn.mac.* attn.context.*")
COUNTED = ("thr.index fetch.rows", "thr.index fetch.scatter", "thr.prefix fetch.copy2d", "vec.argmax.f32 vec.fill.32")


def chain(source: Source) -> Lines:
    """Instructions after each other, settings of their units between them."""
    lines, before = [], ""
    for pattern in source.one_of(CHAINS).split():
        row = source.one_of([row for row in XSLIM if fnmatch(row.mnemonic, pattern)])
        if any(name.startswith(row.unit) for name in SETTINGS) and source.rarely(24 if row.unit == "pim" else 3):
            lines += setting(source, row.unit)
        lines += operation(source, row, f"{before} {row.mnemonic}" in COUNTED and not source.rarely(5))
        before = row.mnemonic
    return lines


# ---------------------------------------------------------------------------------------------------- base instructions

BASE = [row for row in TABLE.values() if not row.is_xslim and row.unit != "zicsr" and row.format.name not in ("SYSTEM", "FENCE")]
POINTERS = {"s4": "x", "s5": "sums", "s6": "weights", "s7": "_start", "s8": "0x2000000", "s9": "tohost"}
SOURCES = ("a0", "a1", "a2", "t0", "t1", "t2", COUNT, "zero", *POINTERS)
RESULTS = ("a0", "a1", "a2", "t0", "t1", "t2", COUNT, "s3", "zero")


def base(source: Source) -> Lines:
    """A base instruction. `@3`, `@-2` stand for the labels of the steps as far away."""
    row = source.one_of(BASE)
    text = row.syntax
    for operand in row.operands:
        name, field = operand.name, operand.field
        if operand.role == "target":
            text = text.replace(field.name, "@" + str(source.one_of((1, 2, 3, 1, 2, 4, 0, -1))))
        elif operand.is_register:
            pointer = name == "rs1" and row.format.name in ("LOAD", "S") and not source.rarely(12)
            text = text.replace(name, source.one_of(RESULTS if name == "rd" else tuple(POINTERS) if pointer else SOURCES))
        else:
            low, high = (field.minimum, field.maximum) if source.rarely(6) else (max(field.minimum, -8), min(field.maximum, 64))
            value = source.below(high - low + 1)
            text = text.replace(field.name, str(value if value <= high else high - value))      # 0 first, then up, then down
    return [f"{row.mnemonic} {text}"]


def csr_access(source: Source) -> Lines:
    """Any CSR, one that does not exist, one that is read-only."""
    name = source.one_of(("0x7c0", "0xc03", "mtvec")) if source.rarely(12) else source.one_of(CSR_NAMES)
    operation, rd = source.one_of(("csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci")), source.one_of(RESULTS)
    return [f"{operation} {rd}, {name}, {source.below(32) if operation.endswith('i') else source.one_of(SOURCES)}"]


ODD = tuple(text.split("; ") for text in (
    "ecall", "ebreak", "mret", "wfi", "fence", "fence.i", "fence.tso", "sync.fence", ".word 0", ".word 0xffffffff",
    ".word 0x00000163", ".word 0x0020006f",                                             # beq and jal to pc + 2
    "lw a0, 0(zero)", "sd a0, 1(zero)", "jalr a0, 2(zero)", "jr s8", "jr s4",
    "li a7, 64; li a0, 1; la a1, codes; li a2, 5; ecall", "li a7, 64; li a0, 2; li a1, 0x30000000; li a2, 5; ecall",    # write
    "li a7, 0x5110; ecall", "li a7, 0x5111; ecall", "li a7, 0x5112; ecall", "li a7, 0x5113; ecall",             # tokens
    "li t0, 65; sb t0, 16(s8)",                                                         # console
    "li t0, 0x0101000000000042; sd t0, 0(s9)", "li t0, 0x8000000; sd t0, 0(s9)", "li t0, 7; sd t0, 0(s9)",
    "la t0, call; sd t0, 0(s9); ld a0, 0(t0)",
    "lw t0, 0(s7); sw t0, 4(s7)", "la t0, @1; lw t1, 0(t0); sw t1, -4(t0); fence.i",    # stores to code
    "la t0, @1; li t1, 0x00150513; sw t1, 0(t0)", "la t0, @-1; sb zero, 3(t0)", "la t0, @1; sd zero, -3(t0)",
    "la a0, L0; la a1, L0; li a2, 4; fetch.copy a0, a1, a2", "la a0, @1; la a1, nops; li a2, 4; fetch.copy a0, a1, a2",
    "la t0, in_flash; jalr t0", "csrw mtvec, zero", "la t0, handler; csrw mtvec, t0", "la t0, x; csrw mtvec, t0",
    "la t0, L0; csrw mepc, t0; mret"))

# ---------------------------------------------------------------------------------------------------- programs


def step(source: Source) -> Lines:
    """Some lines."""
    match source.one_of("nooooooccccccbbmmsspvwll"):
        case "n": return []
        case "o": return operation(source, source.one_of(XSLIM))
        case "c": return chain(source)
        case "b": return base(source)
        case "m": return [line for _ in range(8) for line in base(source)]
        case "s": return setting(source)
        case "p": return [f"li {source.one_of(RESULTS[:-1])}, {number(source):#x}", *base(source)]
        case "v": return csr_access(source)
        case "w": return [f".word {source.below(1 << 32):#x}"] if source.rarely(6) else list(source.one_of(ODD))
        case _:
            body = [line for _ in range(2) for line in source.one_of((chain, base, step))(source) if line[0] != "9"]
            return [f"li s11, {2 + source.below(3)}", "9:", *body, "addi s11, s11, -1", "bnez s11, 9b"]


HANDLERS = [text.split("; ") if text else [] for text in (
    "",
    "csrrw t6, mscratch, t6; csrr t6, mepc; addi t6, t6, 4; csrw mepc, t6; csrrw t6, mscratch, t6; mret",
    "addi s10, s10, 1; csrr s9, mcause; csrr s3, mtval; csrr s1, mepc; addi s1, s1, 4; csrw mepc, s1; mret",
    "csrr s1, mepc; addi s1, s1, 4; csrw mepc, s1; lw s1, 1(s4); mret",
    "lw s1, 1(zero)")]
START = ["la a0, codes", "la a1, scales", "li a2, 16", "lut.build.i8 a0, a1, a2", "li a0, 1", "sync.signal.vec a0",
         "li a0, 4", "li a1, 2", "li a2, 8", "attn.setm a0, a1, a2"]


def program(head: bytes, steps: list[bytes], data: bytes) -> str:
    """The text of a program that these bytes spell."""
    source = Source(head)
    handler = HANDLERS[-1] if source.rarely(40) else source.one_of(HANDLERS[:-1])
    lines = [".section .text", "_start:", *(f"la {register}, {place}" for register, place in POINTERS.items())]
    for name, values in SETTINGS.items():
        if values[0] != CSRS[name].reset:
            lines += [f"li t0, {values[0]}", f"csrw {name}, t0"]
    lines += START * (not source.rarely(4))
    if handler:
        lines += ["la t0, handler", "csrw mtvec, t0"]
    for i, part in enumerate(steps):
        lines += [f"L{i}:", *(_targets(line, i, len(steps)) for line in step(Source(part)))]
    lines += [f"L{len(steps)}:", "csrw mtvec, zero", "li a7, 93", "ecall"]
    lines += [".balign 4", "handler:", *handler, "nops:", "nop", "nop"]
    if source.rarely(4):
        lines += [".section .data.host", ".address 0x8001f000", "tohost:", ".dword 0", "fromhost:", ".dword 0"]
    else:
        lines += [".equ tohost, 0x2000000"]
    for i, name in enumerate(AREAS):
        lines += area(name, Source(data[28 * i:28 * i + 28]))
    lines += [".section .data", ".balign 8", "call:", ".dword 64, 1, codes, 3",
              ".section .flash.code, \"ax\"", ".balign 4", "in_flash:", "addi a0, a0, 1", "ret"]
    return "".join(f"{line if line.endswith(':') else _aligned(line)}\n" for line in lines)


def _aligned(line: str) -> str:
    mnemonic, _, operands = line.partition(" ")
    return f"        {mnemonic:7} {operands}".rstrip()


def _targets(line: str, at: int, last: int) -> str:
    """`@n` as the label n steps away."""
    head, found, tail = line.partition("@")
    if not found:
        return line
    offset, comma, rest = tail.partition(",")
    return f"{head}L{min(max(at + int(offset), 0), last)}{comma}{rest}"


@dataclass(frozen=True)
class Watched:
    """How a run is looked at: it stops after some instructions each time, in front of some steps, and behind writes to an area;
    hooks see every n-th instruction of the code."""

    runs: tuple[int, ...] = ()
    every: int = 3
    stops: tuple[int, ...] = ()         # steps
    watch: str = ""                     # an area

    def __str__(self) -> str:
        return (f"watched: runs {' '.join(map(str, self.runs))}; every {self.every}; stops {' '.join(map(str, self.stops))}; "
                f"watch {self.watch}").rstrip()

    @classmethod
    def parse(cls, text: str) -> Watched:
        """What `str` wrote."""
        runs, every, stops, watch = (part.partition(" ")[2] for part in text.removeprefix("watched: ").split("; "))
        return cls(tuple(map(int, runs.split())), int(every), tuple(map(int, stops.split())), watch)

    @classmethod
    def of(cls, data: bytes) -> Watched:
        """What some bytes spell."""
        source = Source(data)
        return cls(tuple(source.below(60) for _ in range(source.below(5))), 2 + source.below(4),
                   tuple(source.below(10) for _ in range(source.below(3))), source.one_of(("", *AREAS)))


# One draw for all: hypothesis would fill up repeated parts with copies of each other.
STEPS, STEP, AREA, HEAD = 10, 80, 28, 16
SIZE = HEAD + STEPS * STEP + len(AREAS) * AREA


def spelled(data: bytes) -> tuple[str, Watched]:
    """The program that some bytes spell, and how it is watched."""
    end = HEAD + STEPS * STEP
    steps = [data[i:i + STEP] for i in range(HEAD, end, STEP)]
    return program(data[:4], steps, data[end:]), Watched.of(data[4:HEAD])


cases = st.binary(min_size=SIZE, max_size=SIZE).map(spelled)
