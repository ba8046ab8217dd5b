"""The heads of the model, those that are set, and the query buffer."""

from __future__ import annotations

from typing import NamedTuple

from isa import arithmetic as exact
from isa.arithmetic import f32_from_bits
from isa.instruction import instruction
from isa.traps import Cause, Trap

EMPTY, F32, I8 = 0, 1, 2         # attn.loaded


class HeadLayout(NamedTuple):
    """State `attn.model`: heads, heads of keys and values, channels of a head; the first head that is set, and how many are."""

    heads: int
    kv_heads: int
    head_dim: int
    first: int
    active: int

    @property
    def kv_of_heads(self) -> list[int]:
        """The head of the cache that each of the heads set attends to."""
        return [head * self.kv_heads // self.heads for head in range(self.first, self.first + self.active)]


def head_layout(m):
    """The heads that there are and those that are set. Traps before any attn.setm."""
    layout = HeadLayout(*map(int, m.state["attn.model"]))
    if not layout.heads:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "the attention unit knows no heads; expected attn.setm before")
    return layout


# ------------------------------------------------------------------------------------------------ model and heads


@instruction("attn.setm         R4 opcode=0x7B funct3=5 funct2=3",
             "heads, kv_heads, head_dim from now on; all heads are set; the query buffer is empty",
             operands="heads kv_heads head_dim",
             example="li a0, 32\nli a1, 8                         # four query heads share keys and values\nli a2, 128\n"
                     "attn.setm a0, a1, a2")
def attn_setm(m, heads, kv_heads, head_dim):
    most, channels = m.parameter("attn.heads"), m.parameter("attn.channels")
    if heads > most:
        raise Trap(Cause.CAPACITY, heads, f"{heads} heads; the attention unit of this machine has {most} (attn.heads)")
    if not 1 <= kv_heads <= heads or heads % kv_heads:
        raise Trap(Cause.ILLEGAL_OPERAND, kv_heads,
                   f"{heads} heads on {kv_heads} of the cache; expected at least 1, and a number that divides the other")
    if not 1 <= head_dim <= channels:
        raise Trap(Cause.CAPACITY if head_dim else Cause.ILLEGAL_OPERAND, head_dim,
                   f"heads of {head_dim} channels; expected 1..{channels}, what the query buffer holds (attn.channels)")
    m.set_state("attn.model", [heads, kv_heads, head_dim, 0, heads])
    m.set_state("attn.loaded", [EMPTY, 0, 0, 0])


@instruction("attn.seth         R  opcode=0x7B funct3=4 funct7=0x00", "heads first .. first + count - 1 are set",
             operands="first count", example="li a0, 3                         # head 3 alone\nli a1, 1\nattn.seth a0, a1")
def attn_seth(m, first, count):
    layout = head_layout(m)
    if not 1 <= count <= layout.heads or first > layout.heads - count:
        raise Trap(Cause.ILLEGAL_OPERAND, first,
                   f"{count} heads from {first} on; expected at least 1 of heads 0..{layout.heads - 1}")
    m.set_state("attn.model", [*layout[:3], first, count])


# ------------------------------------------------------------------------------------------------ query buffer


def _scaled(m, q):
    """The queries of the heads set, times attn.scale: (heads, head_dim)."""
    layout, capacity = head_layout(m), m.parameter("attn.channels")
    if layout.active * layout.head_dim > capacity:
        raise Trap(Cause.CAPACITY, layout.active * layout.head_dim,
                   f"{layout.active} heads of {layout.head_dim} channels; the query buffer of this machine holds {capacity} "
                   "elements (attn.channels): set fewer heads at a time (attn.seth)")
    queries = m.read_f32(q, layout.active * layout.head_dim) * f32_from_bits(m.csr("attn.scale"))
    m.count("attn.queries", queries.size)
    return exact.canonical(queries).reshape(layout.active, layout.head_dim)


def _loaded(m, form):
    """Note that the query buffer now holds the heads that are set, in this form."""
    layout = head_layout(m)
    m.set_state("attn.loaded", [form, layout.first, layout.active, layout.head_dim])


@instruction("attn.wrgb.f32     R  opcode=0x7B funct3=4 funct7=0x01", "query[h,c] = q[h,c] * attn.scale",
             operands="q<f32[heads,head_dim]",
             example="li t0, 0x3db504f3                # 1 / sqrt(128)\ncsrw attn.scale, t0\nattn.wrgb.f32 a0")
def attn_wrgb_f32(m, q):
    m.set_state("attn.query", _scaled(m, q).reshape(-1))
    _loaded(m, F32)


@instruction("attn.wrgb.i8      R  opcode=0x7B funct3=4 funct7=0x02",
             "per head h, x = q[h] * attn.scale and a = max(|x|): query[h,c] = rint(x[c] * (127 / a)); its scale = a / 127",
             operands="q<f32[heads,head_dim]", example="attn.wrgb.i8 a0")
def attn_wrgb_i8(m, q):
    queries = _scaled(m, q)
    codes, scales = exact.quantise(queries.reshape(-1), queries.shape[1])
    m.set_state("attn.codes", codes)
    m.set_state("attn.scales", scales)
    _loaded(m, I8)


def query_buffer(m, form):
    """What the query buffer holds of the heads set: f32 or int8 (heads, head_dim), and the scales (heads,) of int8."""
    layout = head_layout(m)
    kind, first, count, channels = map(int, m.state["attn.loaded"])
    wanted, mnemonic = (I8, "attn.wrgb.i8") if form == "i8" else (F32, "attn.wrgb.f32")
    if kind != wanted or channels != layout.head_dim or not first <= layout.first <= layout.first + layout.active <= first + count:
        there = f"heads {first}..{first + count - 1} of {channels} channels as {('', 'f32', 'i8')[kind]}" if kind else "nothing"
        raise Trap(Cause.ILLEGAL_OPERAND, kind,
                   f"the query buffer holds {there}; expected heads {layout.first}..{layout.first + layout.active - 1} of "
                   f"{layout.head_dim} channels, written by {mnemonic}")
    chosen = slice(layout.first - first, layout.first - first + layout.active)
    buffer = m.state["attn.codes" if form == "i8" else "attn.query"][:count * channels].reshape(count, channels)
    return buffer[chosen], m.state["attn.scales"][chosen]
