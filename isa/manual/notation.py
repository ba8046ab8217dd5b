"""What the names in the short meanings and shapes of rows stand for: `lanesum`, `f32(...)`, `length`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from isa.csrs import CSRS
from isa.instruction import TABLE, Row

_LANES = "the sum through 16 lanes, [`lane_sum`](arithmetic.md)"
_ROUND = "rounded to the nearest integer, of two to the even one"
_F32 = "exactly, or rounded to the nearest fp32 number, of two to the even one"

_RESULTS = {
    "result":    "clamp(rq(the int32 sum) + y_offset), [int8 networks](vec.md)",
    "image":     "lines of pixels; `vec.windows` and the CSRs behind it say which of its elements windows have",
    "windows":   "how many windows there are, the CSR `vec.windows`",
    "window":    "elements of a window: lines and pixels of `vec.taps` times channels",
    "window v":  "window v of the image, 0 and up, line by line",
    "taps":      "pixels of a window, the CSR `vec.taps`",
    "channels":  "the CSR `vec.cols`",
    "outputs":   "the CSR `vec.outputs`",
    "x_offset":  "field 0 of the CSR `vec.offsets`",
    "bias":      "i32 at the CSR `vec.bias`; 0 where that is 0",
    "sum":       "the sum of all elements",
}

# Unit -> name -> what it is; "": in all units.
NOTATION: dict[str, dict[str, str]] = {
    "": {
        "x[rd]":     "integer register rd; `x[0]` is 0 and stays 0",
        "x[rs1]":    "integer register rs1, 64 bits without sign",
        "x[rs2]":    "integer register rs2, 64 bits without sign",
        "pc":        "the address of this instruction; set: of the next one",
        "mem8":      "the byte at an address",
        "mem16":     "the 2 bytes from an address on, the low one first",
        "mem32":     "the 4 bytes from an address on, the low one first",
        "mem64":     "the 8 bytes from an address on, the low one first",
        "sext":      "the value with its top bit copied up to bit 63",
        "sext32":    "the low 32 bits with bit 31 copied up to bit 63",
        "low32":     "the low 32 bits",
        "low64":     "the low 64 bits of the product of 128",
        "high64":    "the upper 64 bits of the product of 128",
        "signed":    "the 64 bits as a number with sign, two's complement",
        "unsigned":  "the 64 bits as a number without sign",
        "mstatus.MIE":  "bit 3 of [`mstatus`](csrs.md)",
        "mstatus.MPIE": "bit 7 of [`mstatus`](csrs.md)",
        "mepc":      "[the CSR](csrs.md)",
        "lanesum":   _LANES,
        "rint":      _ROUND,
        "f32":       f"the value as fp32, {_F32}",
        "f16":       "the value as fp16, rounded to nearest even, [`f16_bits`](arithmetic.md)",
        "bf16":      "the value as bfloat16, rounded to nearest even, [`bf16_bits`](arithmetic.md)",
        "i32":       "the value as a 32-bit integer, rounded to nearest even, [`i32_from_f32`](arithmetic.md)",
        "e **":      "the exponential, [`exp`](arithmetic.md)",
        "sigmoid":   "[`sigmoid`](arithmetic.md)",
        "tanh":      "[`tanh`](arithmetic.md)",
        "sqrt":      "the square root, rounded to the nearest fp32 number",
        "max":       "the larger one, or the largest of an array; how it treats NaN and zeros, the Python text says",
        "min":       "the smallest of an array",
        "wraps":     "modulo 2**32",
    },
    "vec": {
        "cols":      "the CSR `vec.cols`",
        "head_dim":  "the CSR `vec.head_dim`",
        "groups":    "how many groups of `vec.scale_group` elements n has, the last one shorter; 1 where it is 0",
        "group of i": "i / `vec.scale_group`, rounded down; 0 where it is 0",
        "eps":       "the fp32 number in the CSR `vec.eps`",
        **_RESULTS,
        "w_offset":  "field 1 of the CSR `vec.offsets`",
        "y_offset":  "field 2 of the CSR `vec.offsets`",
        "clamp16":   "the nearest number that int16 holds",
        "isqrt":     "the square root, rounded down",
        "rq0":       "rq with multiplier and shift 0, of int8 networks above; 1 and 2 likewise",
        "rq1":       "rq with multiplier and shift 1",
        "rq2":       "rq with multiplier and shift 2",
        "clamp":     "not less and not more than `vec.clamp` says",
        "pi":        "3.14159...; the constant is in [`gelu`](arithmetic.md)",
    },
    "lut": {
        "activation":   "the vectors that the last build loaded, state `lut.activations`",
        "activations":  "the vectors that the last build loaded, state `lut.activations`",
        "vectors":      "how many vectors a build loads, the CSR `lut.vectors`, or has loaded, state `lut.built_vectors`; 1 where "
                        "that is 0",
        "v":            "one of the vectors, 0 and up. Its part of an operand begins v strides of the operand behind the address",
        "length":       "how many activations of each vector the last build loaded, state `lut.length`",
        "groups":       "how many groups of elements that share a scale there are, the last one shorter; 1 without groups",
        "x_scale":      "scales of the activations, state `lut.scales`; one value for all of a vector where `lut.x_group` is 0",
        "codebook_i8":  "state `lut.codebook_i8`",
        "codebook_f32": "state `lut.codebook_f32`",
        "popcount":     "how many bits are 1",
        "xnor":         "1 for each place in which two rows of bits agree",
    },
    "sp": {
        **_RESULTS,
        "vector":    "the vector that the last build loaded, state `sp.activations` or `sp.vector`",
        "stored":    "the values that the metadata says are stored, each row from a byte on",
        "groups":    "how many groups of elements that share a scale there are, the last one shorter; 1 without groups",
        "scale":     "f32[rows, groups] at the CSR `sp.scales`; one value for all where `sp.scale_group` is 0",
        "x_scale":   "scales of the vector, state `sp.scales`; one value for all where `sp.x_group` is 0",
        "blocks":    "blocks of `sp.block` elements, the last one shorter",
        "block k":   "elements k * `sp.block` and on",
    },
    "cim": {
        "vector":    "the vectors that the last build loaded, state `cim.activations`",
        "vectors":   "how many vectors a build loads, the CSR `cim.vectors`, or has loaded, state `cim.built_vectors`",
        "v":         "one of the vectors, 0 and up. Its part of an operand begins v strides of the operand behind the address",
        "stored":    "values of a row: N for each group of M columns, the last one whole; where N = M as many as columns",
        "x_scales":  "f32[vectors, groups] at the CSR `cim.x_scales`",
        "W":         "the matrix whose tiles stand in the macros",
        "scale":     "f32[rows, groups], of blocks f32[outputs], at the CSR `cim.scales`; one value where `cim.scale_group` is 0",
        "x_scale":   "scales of the vectors, state `cim.x_scales`; one value for all of a vector where `cim.x_group` is 0",
        "block[t, k]": "block k of factor t: the weights in slot first + t * `cim.factor` + k, 0 <= t < f, 0 <= k < `cim.factor`",
        "outputs":   "elements of the result: f * n of spread, ceil(f / `cim.across`) * n of join",
        "n":         "`cim.factor` * `cim.block`, the inputs of a factor",
        "mod":       "the remainder",
        "o":         "the number of an output; `/` is rounded down",
    },
    "thr": {
        "levels":     "the first row of the table, `thr.levels` numbers",
        "1+rows":     "the row of levels and a row for each layer, as many as there are",
        "range_bounds": "where ranges begin, as far as ranks reach, and where the last one ends",
    },
    "fetch": {
        "row_bytes":  "the CSR `fetch.row_bytes`",
        "src_stride": "the CSR `fetch.src_stride`, `fetch.row_bytes` where it is 0",
        "dst_stride": "the CSR `fetch.dst_stride`, `fetch.row_bytes` where it is 0",
    },
    "pim": {
        "selected":   "how many channels the channel masks select",
        "pim.banks":  "banks of a channel",
        "acc":        "accumulators of a bank, state `pim.accumulators`",
        "CRF":        "micro-program of a channel, state `pim.crf`",
        "GRF_A":      "registers of a block, state `pim.grf_a`",
        "GRF_B":      "registers of a block, state `pim.grf_b`",
        "SRF_M":      "scalars of a block, the first half of state `pim.srf`",
        "SRF_A":      "scalars of a block, the second half of state `pim.srf`",
        "SB":         "a mode of a channel, state `pim.mode`: 0",
        "HAB":        "a mode of a channel, state `pim.mode`: 1",
        "HAB_PIM":    "a mode of a channel, state `pim.mode`: 2",
        "global buffer": "state `pim.global_buffer` of a channel",
        "rd_mac":     "`pim.rd_mac.f16` or `pim.rd_mac.bf16`",
        "mod":        "the remainder",
    },
    "attn": {
        "heads":      "heads that are set; in `kv_heads / heads`, those of the model, state `attn.model`",
        "kv_heads":   "heads of keys and values, state `attn.model`",
        "head_dim":   "channels of a head, state `attn.model`",
        "query":      "the query buffer, state `attn.query` or `attn.codes`",
        "scale of key i": "the f32 behind the codes of row i",
        "scale of value i": "the f32 behind the codes of row i",
        "scale of the query": "state `attn.scales` of the head",
        "mask bit i": "bit i mod 8 of byte i / 8 at the CSR `attn.mask`; 1 where that is 0",
        "kv":         "a head of keys and values",
    },
    "sync": {
        "latest signal": "the last one before this instruction in the program",
    },
}


def names_in(rows: Iterable[Row]) -> dict[str, str]:
    """Names in the short meaning and in the shapes of an operation's forms that are no operands, and what each is."""
    some = list(rows)
    text = " ".join([some[0].text, *(operand.shape.partition("[")[2] for row in some for operand in row.operands)])
    operands = {operand.name for operand in some[0].operands}
    known = NOTATION[""] | NOTATION.get(some[0].unit, {})
    found = {name: what for name, what in known.items()
             if name not in operands and re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", text)}
    return found | {name: f"[the CSR](csrs.md): {csr.text}" for name, csr in CSRS.items()
                    if name not in TABLE and re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", text) and "." in name
                    and name not in found}
