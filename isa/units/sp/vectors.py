"""Loading vectors, and what products and results have in common: the shift, groups of scales, strides."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.vectors import asked, check_results, each, stride

NOTHING, I8, F32 = 0, 1, 2              # sp.kind

# ------------------------------------------------------------------------------------------------ vectors


_ROOM = "the unit of this machine holds"


def _build(m, kind, n, **states):
    """Keep vectors of n elements, of a kind, and what belongs to them."""
    m.set_state("sp.kind", [kind])
    m.set_state("sp.built_vectors", [m.csr("sp.vectors")])
    m.set_state("sp.length", [n])
    for name, values in states.items():
        m.set_state(f"sp.{name}", values)


@instruction("sp.build.i8     R4 opcode=0x5B funct3=7 funct2=0",
             "vector v = x of v; its scales = scale of v, one per sp.scale_group elements",
             operands="x<i8[vectors,n] scale<f32[vectors,groups] n",
             example="csrw sp.scale_group, zero    # one scale for the vector\nsp.build.i8 a0, a1, a2")
def sp_build_i8(m, x, scale, n):
    vectors, group = asked(m, "sp.vectors", "sp.activations", n, _ROOM), m.csr("sp.scale_group")
    groups = group_count(n, group)
    codes_stride = stride(m, "sp.codes_stride", n, f"a vector of {n} codes")
    scale_stride = stride(m, "sp.scale_stride", 4 * groups, f"{groups} scales", 4)
    m.check_read(x, m.span(vectors, n, codes_stride))
    m.check_read(scale, m.span(vectors, 4 * groups, scale_stride), 4)
    _build(m, I8, n, activations=each(m.read_i8, x, vectors, n, codes_stride), x_group=[group],
           scales=each(m.read_f32, scale, vectors, groups, scale_stride))


@instruction("sp.build.f32    R  opcode=0x2B funct3=7 funct7=0x1E", "vector v = x of v", operands="x<f32[vectors,n] n",
             example="sp.build.f32 a0, a1")
def sp_build_f32(m, x, n):
    vectors = asked(m, "sp.vectors", "sp.activations", n, _ROOM)
    step = stride(m, "sp.codes_stride", 4 * n, f"a vector of {n} f32", 4)
    m.check_read(x, m.span(vectors, 4 * n, step), 4)
    _build(m, F32, n, vector=each(m.read_f32, x, vectors, n, step))


def _loaded(m, kind, name, build):
    """The vectors that were built, (vectors, length). Trap unless they are of this kind."""
    if m.state["sp.kind"][0] != kind:
        raise Trap(Cause.ILLEGAL_OPERAND, int(m.state["sp.kind"][0]), f"no {build[9:]} vector is loaded; {build} must come first")
    vectors, length = max(int(m.state["sp.built_vectors"][0]), 1), int(m.state["sp.length"][0])
    return m.state[name][:vectors * length].reshape(vectors, length)


def vectors_built(m):
    """The int8 vectors that were built, as int32 (vectors, length)."""
    return _loaded(m, I8, "sp.activations", "sp.build.i8").astype(np.int32)


def float_vectors_built(m):
    """The f32 vectors that were built, (vectors, length)."""
    return _loaded(m, F32, "sp.vector", "sp.build.f32")


# ------------------------------------------------------------------------------------------------ what products set


def shift_of(m):
    """What sums are shifted left by."""
    if m.csr("sp.shift") > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.shift"), f"sp.shift is {m.csr('sp.shift')}; expected 0..31")
    return m.csr("sp.shift")


def scale_group(m):
    """The group that scales of weights and vector have in common; an operand with one scale goes with any group."""
    group, x_group = m.csr("sp.scale_group"), int(m.state["sp.x_group"][0])
    if group and x_group and group != x_group:
        raise Trap(Cause.ILLEGAL_OPERAND, group,
                   f"sp.scale_group is {group}, but the vector was built with groups of {x_group}; "
                   "expected the same, or 0 (one scale) for one of them")
    return group or x_group


def write_results(m, y, result, step):
    """Write f32 (vectors, rows) to y, each vector's `step` bytes behind the one before."""
    check_results(m, y, *result.shape, step)
    for vector, values in enumerate(result):
        m.write_f32(y + vector * step, values)
