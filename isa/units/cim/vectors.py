"""Loading vectors, and what products have in common: the ADC, counters, scales."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.vectors import asked, each, stride

# ------------------------------------------------------------------------------------------------ vectors


@instruction("cim.build.i8     R opcode=0x5B funct3=0 funct7=0x00",
             "vector v = x of v; its scales = x_scales of v, one per cim.scale_group elements",
             operands="x<i8[vectors,n] n",
             example="csrw cim.x_scales, a2\ncsrw cim.scale_group, zero   # one scale for the vector\ncim.build.i8 a0, a1")
def cim_build_i8(m, x, n):
    vectors, group = asked(m, "cim.vectors", "cim.activations", n, "the unit of this machine holds"), m.csr("cim.scale_group")
    groups = group_count(n, group)
    codes_stride = stride(m, "cim.codes_stride", n, f"a vector of {n} codes")
    scale_stride = stride(m, "cim.scale_stride", 4 * groups, f"{groups} scales", 4)
    m.check_read(m.csr("cim.x_scales"), m.span(vectors, 4 * groups, scale_stride), 4)
    m.check_read(x, m.span(vectors, n, codes_stride))
    m.set_state("cim.x_scales", each(m.read_f32, m.csr("cim.x_scales"), vectors, groups, scale_stride))
    m.set_state("cim.activations", each(m.read_i8, x, vectors, n, codes_stride))
    m.set_state("cim.built_vectors", [vectors])
    m.set_state("cim.length", [n])
    m.set_state("cim.x_group", [group])


def built(m):
    """The vectors that were built, as int64 (vectors, length)."""
    vectors, length = int(m.state["cim.built_vectors"][0]), int(m.state["cim.length"][0])
    if not vectors:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "no vector is loaded; cim.build.i8 must come first")
    return m.state["cim.activations"][:vectors * length].reshape(vectors, length).astype(np.int64)


# ------------------------------------------------------------------------------------------------ sums of columns


def converted(m):
    """What the ADCs make of sums: a function of int64 arrays."""
    setting = m.csr("cim.adc")
    bits, shift = setting & 0xFF, setting >> 8
    if setting and (not m.parameter("cim.adcs") or not 1 <= bits <= 16 or shift > 31):
        raise Trap(Cause.ILLEGAL_OPERAND, setting,
                   f"cim.adc says {bits} bits, shift {shift}; expected 0 (exact), or with ADCs 1..16 bits, shift 0..31")

    def convert(sums):
        if not setting:
            return sums
        odd = sums >> shift & 1                                                 # half goes to the even neighbour
        rounded = sums + (1 << shift >> 1) - 1 + odd >> shift if shift else sums
        return np.clip(rounded, -(1 << bits - 1), (1 << bits - 1) - 1) << shift
    return convert


def count_columns(m, sums, longest):
    """Count the sums that columns yielded; `longest`: those that one ADC has to convert one after the other."""
    m.count("cim.merges", (m.parameter("cim.sub_macros") - 1) * sums)
    if m.parameter("cim.adcs"):
        m.count("cim.conversions", sums)
        m.count("cim.adc_longest", longest)


def count_macs(m, nonzero, elements):
    """Count the products of a dense matrix of so many elements, of which some are not zero."""
    m.count("cim.macs", nonzero)
    m.count("cim.macs_skipped", elements - nonzero)


# ------------------------------------------------------------------------------------------------ results


def shift_of(m):
    """What sums are shifted left by."""
    if m.csr("cim.shift") > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("cim.shift"), f"cim.shift is {m.csr('cim.shift')}; expected 0..31")
    return m.csr("cim.shift")


def scale_group(m):
    """The group that scales of weights and vectors have in common; an operand with one scale goes with any group."""
    group, x_group = m.csr("cim.scale_group"), int(m.state["cim.x_group"][0])
    if group and x_group and group != x_group:
        raise Trap(Cause.ILLEGAL_OPERAND, group,
                   f"cim.scale_group is {group}, but the vectors were built with groups of {x_group}; "
                   "expected the same, or 0 (one scale) for one of them")
    return group or x_group


def weight_scales(m, count):
    """`count` scales at cim.scales, or the one for all where cim.scale_group is 0."""
    return m.read_f32(m.csr("cim.scales"), count if m.csr("cim.scale_group") else min(count, 1))


def vector_scales(m, vectors, length):
    """The scales of the vectors, (vectors, groups)."""
    groups = group_count(length, int(m.state["cim.x_group"][0]))
    return m.state["cim.x_scales"][:vectors * groups].reshape(vectors, groups)
