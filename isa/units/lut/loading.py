"""Loading activations and codebooks, and what products have in common: settings and groups of scales."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.numbers import FORMATS
from isa.traps import Cause, Trap
from isa.units.lut.counting import BUFFER, GROUP
from isa.vectors import asked, each, stride

I8, B1 = 1, 2                           # lut.kind


def _build(m, kind, activations, scales, group):
    """Keep activations (vectors, n), int8, of a kind, and their scales, one per `group`. Counts the tables that are built."""
    vectors, n = activations.shape
    m.set_state("lut.kind", [kind])
    m.set_state("lut.built_vectors", [m.csr("lut.vectors")])
    m.set_state("lut.length", [n])
    m.set_state("lut.activations", activations)
    m.set_state("lut.x_group", [group])
    m.set_state("lut.scales", scales)
    if m.csr("lut.mode") != BUFFER:
        m.count("lut.tables_built", vectors * group_count(n, GROUP[m.csr("lut.mode")]))


@instruction("lut.build.i8     R4 opcode=0x2B funct3=4 funct2=0",
             "activations of v = x of v; their scales = scale of v, one per lut.scale_group elements; build tables of 4",
             operands="x<i8[vectors,n] scale<f32[vectors,groups] n",
             example="csrw lut.scale_group, zero   # one scale for the vector\nlut.build.i8 a0, a1, a2\n"
                     "csrwi lut.vectors, 3         # three vectors, one behind the other\nlut.build.i8 a0, a1, a2")
def lut_build_i8(m, x, scale, n):
    check_settings(m)
    vectors, group = asked(m, "lut.vectors", "lut.activations", n, "the tables of this machine hold"), m.csr("lut.scale_group")
    groups = group_count(n, group)
    codes_stride = stride(m, "lut.codes_stride", n, f"a vector of {n} codes")
    scale_stride = stride(m, "lut.scale_stride", 4 * groups, f"{groups} scales", 4)
    m.check_read(x, m.span(vectors, n, codes_stride))
    m.check_read(scale, m.span(vectors, 4 * groups, scale_stride), 4)
    _build(m, I8, each(m.read_i8, x, vectors, n, codes_stride), each(m.read_f32, scale, vectors, groups, scale_stride), group)


@instruction("lut.build.b1     R  opcode=0x2B funct3=0 funct7=0x20",
             "activations of v = x of v, each +1 or -1, with scale 1; build tables of 4",
             operands="x<b1[vectors,n] n", example="lut.build.b1 a0, a1")
def lut_build_b1(m, x, n):
    check_settings(m)
    vectors, bits = asked(m, "lut.vectors", "lut.activations", n, "the tables of this machine hold"), FORMATS["b1"]
    size = bits.row_bytes(n)
    step = stride(m, "lut.codes_stride", size, f"a vector of {n} b1")
    m.check_read(x, m.span(vectors, size, step))
    activations = bits.unpack(each(m.read, x, vectors, size, step), n)
    _build(m, B1, activations, np.ones((vectors, min(n, 1)), np.float32), 0)


def _check_codebook(n):
    """Trap unless n is a length that a codebook can have."""
    if n not in (4, 8, 16):
        raise Trap(Cause.ILLEGAL_OPERAND, n, f"a codebook of {n} values; expected 4, 8 or 16")


@instruction("lut.codebook.i8  R  opcode=0x2B funct3=0 funct7=0x21", "codebook_i8[i] = table[i]; entries from n on are 0",
             operands="table<i8[n] n", example="lut.codebook.i8 a0, a1")
def lut_codebook_i8(m, table, n):
    _check_codebook(n)
    m.set_state("lut.codebook_i8", np.pad(m.read_i8(table, n), (0, 16 - n)))


@instruction("lut.codebook.f32 R  opcode=0x2B funct3=0 funct7=0x22", "codebook_f32[i] = table[i]; entries from n on are 0",
             operands="table<f32[n] n", example="lut.codebook.f32 a0, a1")
def lut_codebook_f32(m, table, n):
    _check_codebook(n)
    m.set_state("lut.codebook_f32", np.pad(m.read_f32(table, n), (0, 16 - n)))


# ------------------------------------------------------------------------------------------------ products


def loaded(m):
    """The activations that were built, as int32 (vectors, length)."""
    if not m.state["lut.kind"][0]:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "no activations are loaded; lut.build.i8 or lut.build.b1 must come first")
    vectors, length = max(int(m.state["lut.built_vectors"][0]), 1), int(m.state["lut.length"][0])
    return m.state["lut.activations"][:vectors * length].reshape(vectors, length).astype(np.int32)


def check_settings(m):
    """Trap for a mode or a shift that is not defined."""
    mode, shift = m.csr("lut.mode"), m.csr("lut.shift")
    if mode > 2:
        raise Trap(Cause.ILLEGAL_OPERAND, mode, f"lut.mode is {mode}; expected 0 (LUT), 1 (buffer) or 2 (mixed)")
    if shift > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, shift, f"lut.shift is {shift}; expected 0..31")


def scale_group(m):
    """The group that weight and activation scales have in common; an operand with one scale goes with any group."""
    group, x_group = m.csr("lut.scale_group"), int(m.state["lut.x_group"][0])
    if group and x_group and group != x_group:
        raise Trap(Cause.ILLEGAL_OPERAND, group,
                   f"lut.scale_group is {group}, but the activations were built with groups of {x_group}; "
                   "expected the same, or 0 (one scale) for one of them")
    return group or x_group
