"""The attention unit: one token's attention over a key-value cache, all heads in one instruction.

The vocabulary is AttAcc's (SETM, SETH, WR_GB, MAC, MV_SB, SFM, MV_GB), the transposed keys and the softmax of a head that is split
over cores are HPIM's. Here stand the rows and what each does with memory; sums, softmax and quantisation are isa/arithmetic.py's.

Sources: AttAcc, ASPLOS 2024, and its public simulator (commands of attention on HBM3-PIM); HPIM, arXiv 2509.12993 (attention on
SRAM-PIM); STARC, arXiv 2505.05772, and ThinK, arXiv 2407.21018 (lists of cache rows, keys without some channels).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isa import arithmetic as exact
from isa.arithmetic import f32_from_bits, lane_sum
from isa.instruction import Counter, Csr, Parameter, StateArray, Unit, instruction
from isa.traps import Cause, Trap

UNIT = Unit(
    "attn", "Attention", """\
Attention of one token over the keys and values of all tokens before it, for all heads at once. `attn.setm` says how many heads
there are, how many of keys and values, and of how many channels; query heads that share a head of keys and values (GQA) share each
row that is read. A step is then

    attn.wrgb.f32     queries, times attn.scale, to the query buffer
    attn.mac.f32      scores: each key of the cache . query
    attn.sfm.f32      probabilities: softmax of each head's scores, under a mask if there is one
    attn.context.f32  context: the values of the cache, weighted by the probabilities

and for fp32 leaves what vec.gemv.f32, vec.softmax.f32 and vec.macT.f32 leave, head by head, bit for bit. `attn.seth` restricts what
follows to some of the heads: one head to a core, heads in phases. Operands then hold these heads alone, the first one first.

A cache is a row for each token, `attn.key_stride` or `attn.value_stride` bytes apart:

    f32, f16   | head 0: head_dim elements | head 1 | ... |
    i8         | head 0: head_dim codes    | head 1 | ... | to a multiple of 4 | f32 scale of head 0 | of head 1 | ... |

which is what one vec.quant.i8 writes, with vec.scale_group = head_dim. Keys may instead be transposed, as HPIM's SRAM holds
them: a row for each channel, a column for each token. `attn.xpose` writes a token's column, `attn.xmac` is `attn.mac` on such keys:

    row g * head_dim + c     channel c of head g: | token 0 | token 1 | ... |
    behind all channels, i8  4 * attn.key_stride bytes for each head: | f32 scale of token 0 | of token 1 | ... |

fp16 elements are converted to fp32, which is exact. With int8 keys the query is int8 too (`attn.wrgb.i8`, one scale a head), and a
dot product is an exact integer.

With `attn.row_list` set, position i is not row i of the cache but the row that the list there names: a token's budget of clusters
(STARC), a pruned cache, pages. Keys in segments, such as old ones without some channels behind each other (ThinK), are one
`attn.mac` each, to scores that lie side by side. A head that is split over cores needs the largest score and the sum of the
exponentials from all of them: `attn.mvsb`, `attn.exp` and `attn.mvgb` are `attn.sfm` in three parts, between which they are
exchanged.

AttAcc's MV_SB, which takes scores to the softmax buffer, is part of `attn.mac` here, for score rows are memory; MV_GB, which takes
probabilities back to the GEMV buffer, is part of `attn.context`. A length of zero does nothing. Operands may overlap: all is read
before anything is written.""",
    csrs=(
        #   name                 number  meaning                                                         reset        writable
        Csr("attn.scale",        0x850, "fp32 bits that attn.wrgb multiplies queries by; 1 at reset",    0x3F80_0000, 0xFFFF_FFFF),
        Csr("attn.key_stride",   0x851, "bytes between rows of keys; 0: packed, for attn.mac alone"),
        Csr("attn.value_stride", 0x852, "bytes between rows of values; 0: packed"),
        Csr("attn.score_stride", 0x853, "bytes between the score rows of two heads; 0: packed"),
        Csr("attn.row_list",     0x854, "address of a list of cache rows, u32; 0: row i is position i"),
        Csr("attn.list_stride",  0x855, "bytes between the lists of two heads; 0: one list for all"),
        Csr("attn.mask",         0x856, "address of a bit for each position, 0 leaves its score out; 0: no mask"),
        Csr("attn.mask_stride",  0x857, "bytes between the masks of two heads; 0: one mask for all"),
    ),
    counters=(
        Counter("attn.ops",           72, "instructions", "attn instructions retired"),
        Counter("attn.macs",          73, "MACs",         "multiply-accumulates of scores and of context"),
        Counter("attn.queries",       74, "elements",     "elements written to the query buffer (AttAcc's WR_GB)"),
        Counter("attn.scores",        75, "scores",       "scores that attn.mac and attn.xmac have written (MV_SB)"),
        Counter("attn.probabilities", 76, "elements",     "probabilities that attn.macT and attn.context have read (MV_GB)"),
        Counter("attn.rows",          77, "rows",         "keys and values read, of one token and one head of the cache each"),
        Counter("attn.cache_bytes",   78, "bytes",        "bytes of these, scales included"),
        Counter("attn.elements",      79, "elements",     "scores that went through sfm, mvsb, exp or mvgb"),
        Counter("attn.exponentials",  80, "elements",     "those of attn.elements that needed an exponential"),
        Counter("attn.masked",        81, "elements",     "those of attn.elements that a mask has left out"),
        Counter("attn.transposed",    82, "elements",     "elements of keys that attn.xpose has written"),
    ),
    parameters=(
        Parameter("attn.heads",    "heads",    "most heads that attn.setm takes"),
        Parameter("attn.channels", "elements", "elements that the query buffer holds: channels of all heads that are set"),
    ),
    state=(
        StateArray("attn.model",   "u4", 5,               "heads, heads of the cache, head_dim; first head set, how many"),
        StateArray("attn.loaded",  "u4", 4,               "query buffer: 0 empty, 1 f32, 2 i8; its first head, heads, head_dim"),
        StateArray("attn.query",   "f4", "attn.channels", "queries as f32"),
        StateArray("attn.codes",   "i1", "attn.channels", "queries as int8"),
        StateArray("attn.scales",  "f4", "attn.heads",    "scales of the int8 queries, one a head"),
    ),
)

_EMPTY, _F32, _I8 = 0, 1, 2                             # attn.loaded
_SIZE = {"f32": 4, "f16": 2, "i8": 1}                   # bytes of an element of the cache


class _Model(NamedTuple):
    heads: int
    kv_heads: int
    head_dim: int
    first: int
    active: int

    @property
    def kv_of_heads(self) -> list[int]:
        """The head of the cache that each of the heads set attends to."""
        return [head * self.kv_heads // self.heads for head in range(self.first, self.first + self.active)]


def _model(m):
    model = _Model(*map(int, m.state["attn.model"]))
    if not model.heads:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "the attention unit knows no heads; expected attn.setm before")
    return model


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
    m.set_state("attn.loaded", [_EMPTY, 0, 0, 0])


@instruction("attn.seth         R  opcode=0x7B funct3=4 funct7=0x00", "heads first .. first + count - 1 are set",
             operands="first count",
             example="li a0, 5                         # head 5 alone\nli a1, 1\nattn.seth a0, a1")
def attn_seth(m, first, count):
    model = _model(m)
    if not 1 <= count <= model.heads or first > model.heads - count:
        raise Trap(Cause.ILLEGAL_OPERAND, first,
                   f"{count} heads from {first} on; expected at least 1 of heads 0..{model.heads - 1}")
    m.set_state("attn.model", [*model[:3], first, count])


# ------------------------------------------------------------------------------------------------ query buffer


def _scaled(m, q):
    """The queries of the heads set, times attn.scale: (heads, head_dim)."""
    model, capacity = _model(m), m.parameter("attn.channels")
    if model.active * model.head_dim > capacity:
        raise Trap(Cause.CAPACITY, model.active * model.head_dim,
                   f"{model.active} heads of {model.head_dim} channels; the query buffer of this machine holds {capacity} elements "
                   "(attn.channels): set fewer heads at a time (attn.seth)")
    queries = m.read_f32(q, model.active * model.head_dim) * f32_from_bits(m.csr("attn.scale"))
    m.count("attn.queries", queries.size)
    return exact.canonical(queries).reshape(model.active, model.head_dim)


def _loaded(m, form):
    model = _model(m)
    m.set_state("attn.loaded", [form, model.first, model.active, model.head_dim])


@instruction("attn.wrgb.f32     R  opcode=0x7B funct3=4 funct7=0x01", "query[h,c] = q[h,c] * attn.scale",
             operands="q<f32[heads,head_dim]", counters="attn.queries",
             example="li t0, 0x3db504f3                # 1 / sqrt(128)\ncsrw attn.scale, t0\nattn.wrgb.f32 a0")
def attn_wrgb_f32(m, q):
    m.set_state("attn.query", _scaled(m, q).reshape(-1))
    _loaded(m, _F32)


@instruction("attn.wrgb.i8      R  opcode=0x7B funct3=4 funct7=0x02",
             "per head h, x = q[h] * attn.scale and a = max(|x|): query[h,c] = rint(x[c] * (127 / a)); its scale = a / 127",
             operands="q<f32[heads,head_dim]", counters="attn.queries", example="attn.wrgb.i8 a0")
def attn_wrgb_i8(m, q):
    queries = _scaled(m, q)
    codes, scales = exact.quantise(queries.reshape(-1), queries.shape[1])
    m.set_state("attn.codes", codes)
    m.set_state("attn.scales", scales)
    _loaded(m, _I8)


def _queries(m, form):
    """What the query buffer holds of the heads set: f32 or int8 (heads, head_dim), and the scales (heads,) of int8."""
    model = _model(m)
    kind, first, count, channels = map(int, m.state["attn.loaded"])
    wanted, mnemonic = (_I8, "attn.wrgb.i8") if form == "i8" else (_F32, "attn.wrgb.f32")
    if kind != wanted or channels != model.head_dim or not first <= model.first <= model.first + model.active <= first + count:
        there = f"heads {first}..{first + count - 1} of {channels} channels as {('', 'f32', 'i8')[kind]}" if kind else "nothing"
        raise Trap(Cause.ILLEGAL_OPERAND, kind,
                   f"the query buffer holds {there}; expected heads {model.first}..{model.first + model.active - 1} of "
                   f"{model.head_dim} channels, written by {mnemonic}")
    chosen = slice(model.first - first, model.first - first + model.active)
    buffer = m.state["attn.codes" if form == "i8" else "attn.query"][:count * channels].reshape(count, channels)
    return buffer[chosen], m.state["attn.scales"][chosen]


# ------------------------------------------------------------------------------------------------ the cache


class _Cached(NamedTuple):
    """Keys or values of a head: f32 or int8 (n, head_dim), and the scales (n,) of int8."""

    elements: Any
    scales: Any = None


def _read(m, address, count, form):
    """Elements of the cache: f32 as they are, fp16 as fp32, int8 codes."""
    match form:
        case "f32": return m.read_f32(address, count)
        case "f16": return exact.f32_from_f16(m.read_u16(address, count))
        case _:     return m.read_i8(address, count)


def _lists(m, n):
    """For each list of cache rows: (how many of the heads set it is for, its rows)."""
    heads, base, stride = _model(m).active, m.csr("attn.row_list"), m.csr("attn.list_stride")
    if not base:
        return [(heads, range(n))]
    if not stride:
        return [(heads, m.read_u32(base, n).tolist())]
    return [(1, m.read_u32(base + head * stride, n).tolist()) for head in range(heads)]


def _count_rows(m, rows, form):
    m.count("attn.rows", rows)
    m.count("attn.cache_bytes", rows * (_model(m).head_dim * _SIZE[form] + 4 * (form == "i8")))


def _by_row(m, base, n, form, setting):
    """A cache with a row for each token: a _Cached for each of the heads set. A row is read once for all heads of a list."""
    model, size = _model(m), _SIZE[form]
    codes = model.kv_heads * model.head_dim * size
    row_bytes = codes if form != "i8" else codes + -codes % 4 + 4 * model.kv_heads
    stride, step = m.csr(setting) or row_bytes, max(size, 4 * (form == "i8"))
    if stride < row_bytes or stride % step:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"{setting} is {stride}: expected 0 (packed rows) or a multiple of {step}, at "
                   f"least the {row_bytes} bytes of a row of {model.kv_heads} heads of {model.head_dim} channels")
    listed = m.csr("attn.row_list")
    m.check_read(base, 0 if listed else (n - 1) * stride + row_bytes, step)
    found: list[_Cached] = []
    for heads, rows in _lists(m, n):
        kv = model.kv_of_heads[len(found):len(found) + heads]
        first, width = kv[0], kv[-1] - kv[0] + 1
        elements, scales = [], []
        for row in rows:
            start = base + row * stride
            m.check_read(start, row_bytes if listed else 0, step)
            elements.append(_read(m, start + first * model.head_dim * size, width * model.head_dim, form))
            if form == "i8":
                scales.append(m.read_f32(start + row_bytes - 4 * (model.kv_heads - first), width))
        every = np.reshape(elements, (n, width, model.head_dim))
        each = np.reshape(scales, (n, width)) if scales else np.zeros((n, width), np.float32)
        found += [_Cached(every[:, head - first], each[:, head - first]) for head in kv]
        _count_rows(m, n * width, form)
    return found


def _by_channel(m, base, n, form):
    """Transposed keys: a _Cached for each of the heads set."""
    model = _model(m)
    stride = _channel_stride(m, n, form)
    if m.csr("attn.row_list"):
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("attn.row_list"),
                   "attn.row_list is set; expected 0, for transposed keys are read whole: mask them, or use attn.mac")
    found = {}
    for head in sorted(set(model.kv_of_heads)):
        start = base + head * model.head_dim * stride
        channels = [_read(m, start + channel * stride, n, form) for channel in range(model.head_dim)]
        scales = m.read_f32(base + (model.kv_heads * model.head_dim + 4 * head) * stride, n) if form == "i8" else None
        found[head] = _Cached(np.stack(channels).T, scales)
    _count_rows(m, n * len(found), form)
    return [found[head] for head in model.kv_of_heads]


def _channel_stride(m, tokens, form):
    """attn.key_stride, checked for rows of so many tokens."""
    stride, size, step = m.csr("attn.key_stride"), _SIZE[form], 4 if form == "i8" else _SIZE[form]
    if stride < tokens * size or stride % step:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"attn.key_stride is {stride}: expected a multiple of {step}, at least the "
                   f"{tokens * size} bytes of {tokens} tokens in a channel")
    return stride


# ------------------------------------------------------------------------------------------------ scores


def _score_rows(m, base, n):
    """Addresses of the score rows of the heads set."""
    stride = m.csr("attn.score_stride") or 4 * n
    if stride < 4 * n or stride % 4:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"attn.score_stride is {stride}: expected 0 (packed) or a multiple of 4, at "
                   f"least the {4 * n} bytes of {n} scores")
    return [base + head * stride for head in range(_model(m).active)]


def _mac(row, form, by_channel=False, example=""):
    """A row scores = keys . query."""
    rule = "f32(sum over c of keys[i,kv,c] * query[h,c]) * scale of key i * scale of the query" if form == "i8" else \
        "lanesum over c of f32(keys[i,kv,c]) * query[h,c]"

    def meaning(m, scores, keys, n):
        if n == 0:
            return
        queries, query_scales = _queries(m, form)
        rows = _score_rows(m, scores, n)
        cached = _by_channel(m, keys, n, form) if by_channel else _by_row(m, keys, n, form, "attn.key_stride")
        for target, query, scale, (elements, scales) in zip(rows, queries, query_scales, cached, strict=True):
            if form == "i8":
                sums = elements.astype(np.int32) @ query.astype(np.int32)
                m.write_f32(target, sums.astype(np.float32) * scales * scale)
            else:
                m.write_f32(target, lane_sum(elements * query))
        m.count("attn.scores", len(rows) * n)
        m.count("attn.macs", queries.size * n)

    shape = f"{form}[kv_heads,head_dim,n]" if by_channel else f"{form}[n,kv_heads,head_dim]"
    instruction(row, f"for head h and its kv = h * kv_heads / heads: scores[h,i] = {rule}",
                operands=f"scores>f32[heads,n] keys<{shape} n", counters="attn.macs attn.scores attn.rows attn.cache_bytes",
                example=example)(meaning)


_mac("attn.mac.f32      R  opcode=0x7B funct3=4 funct7=0x10", "f32", example="""\
csrw attn.score_stride, s1       # room for a full context
attn.wrgb.f32 a0
attn.mac.f32  a1, a2, a3         # scores of a3 tokens, all heads""")
_mac("attn.mac.f16      R  opcode=0x7B funct3=4 funct7=0x11", "f16")
_mac("attn.mac.i8       R  opcode=0x7B funct3=4 funct7=0x12", "i8", example="""\
attn.wrgb.i8 a0
csrw attn.row_list, a4               # a list of a3 rows
attn.mac.i8 a1, a2, a3
csrw attn.row_list, zero""")
_mac("attn.xmac.f32     R  opcode=0x7B funct3=4 funct7=0x14", "f32", True)
_mac("attn.xmac.f16     R  opcode=0x7B funct3=4 funct7=0x15", "f16", True, example="""\
csrw attn.key_stride, t0         # 2 bytes for each token of a full context
attn.xmac.f16 a1, a2, a3""")
_mac("attn.xmac.i8      R  opcode=0x7B funct3=4 funct7=0x16", "i8", True)


def _transpose(row, form, example=""):
    """A row that writes a token's key into transposed keys."""
    def meaning(m, keys, k, position):
        model = _model(m)
        stride = _channel_stride(m, position + 1, form)
        heads = sorted(set(model.kv_of_heads))
        values = m.read_f32(k, len(heads) * model.head_dim)
        codes, scales = exact.quantise(values, model.head_dim) if form == "i8" else (values, None)
        write = {"f32": m.write_f32, "f16": m.write_u16, "i8": m.write_i8}[form]
        first = heads[0] * model.head_dim
        for channel, value in enumerate(exact.f16_bits(codes) if form == "f16" else codes, first):
            write(keys + channel * stride + position * _SIZE[form], [value])
        if scales is not None:
            for head, scale in zip(heads, scales, strict=True):
                m.write_f32(keys + (model.kv_heads * model.head_dim + 4 * head) * stride + 4 * position, [scale])
        m.count("attn.transposed", len(values))

    rule = {"f32": "k[kv,c]", "f16": "f16(k[kv,c])", "i8": "the code of k[kv,c], as vec.quant.i8 with a scale for each head"}[form]
    instruction(row, f"for kv of the heads that are set: keys[kv,c,position] = {rule}",
                operands=f"keys>{form}[kv_heads,head_dim,position+1] k<f32[kv_heads,head_dim] position", counters="attn.transposed",
                example=example)(meaning)


_transpose("attn.xpose.f32    R  opcode=0x7B funct3=4 funct7=0x30", "f32")
_transpose("attn.xpose.f16    R  opcode=0x7B funct3=4 funct7=0x31", "f16",
           example="attn.xpose.f16 a0, a1, a2        # the key of token a2")
_transpose("attn.xpose.i8     R  opcode=0x7B funct3=4 funct7=0x32", "i8")


# ------------------------------------------------------------------------------------------------ softmax


def _masked(m, scores, n):
    """The scores of the heads set, -infinity where the mask is 0: (heads, n)."""
    rows, mask, stride = _score_rows(m, scores, n), m.csr("attn.mask"), m.csr("attn.mask_stride")
    values = np.stack([m.read_f32(row, n) for row in rows])
    m.count("attn.elements", values.size)
    if not mask:
        return values
    masks = [m.read(mask + head * stride, -(-n // 8)) for head in range(len(rows) if stride else 1)]
    kept = np.unpackbits(np.stack(masks), axis=1, bitorder="little")[:, :n] == 1
    m.count("attn.masked", np.count_nonzero(np.broadcast_to(~kept, values.shape)))
    return np.where(kept, values, -exact.INFINITY)


def _write_rows(m, base, values):
    for row, value in zip(_score_rows(m, base, values.shape[1]), values, strict=True):
        m.write_f32(row, value)


@instruction("attn.sfm.f32      R  opcode=0x7B funct3=4 funct7=0x21",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: e[i] = e ** (x[i] - max(x)); probs[h,i] = e[i] / lanesum(e)",
             operands="probs>f32[heads,n] scores<f32[heads,n] n", counters="attn.elements attn.exponentials attn.masked",
             example="attn.sfm.f32 a1, a1, a3          # in place")
def attn_sfm_f32(m, probs, scores, n):
    if n == 0:
        return
    x = _masked(m, scores, n)
    _write_rows(m, probs, np.stack([exact.softmax(row) for row in x]))
    m.count("attn.exponentials", x.size)


@instruction("attn.mvsb.f32     R  opcode=0x7B funct3=4 funct7=0x20",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: most[h] = max(x); NaN if one is",
             operands="most>f32[heads] scores<f32[heads,n] n", counters="attn.elements attn.masked",
             example="attn.mvsb.f32 a0, a1, a3         # of this core's tokens\n"
                     "vec.maximum.f32 a0, a0, a4, a5   # with another core's, a5 heads")
def attn_mvsb_f32(m, most, scores, n):
    if n == 0:
        return
    m.write_f32(most, [exact.largest(row) for row in _masked(m, scores, n)])


@instruction("attn.exp.f32      R4 opcode=0x7B funct3=7 funct2=0",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: scores[h,i] = e ** (x[i] - most[h]); "
             "sums[h] = lanesum(scores[h])",
             operands="scores<>f32[heads,n] most<f32[heads] sums>f32[heads] n",
             counters="attn.elements attn.exponentials attn.masked", example="attn.exp.f32 a1, a0, a2, a3")
def attn_exp_f32(m, scores, most, sums, n):
    if n == 0:
        return
    x = _masked(m, scores, n)
    e = exact.exp(x - m.read_f32(most, len(x))[:, None])
    _write_rows(m, scores, e)
    m.write_f32(sums, lane_sum(e))
    m.count("attn.exponentials", x.size)


@instruction("attn.mvgb.f32     R4 opcode=0x7B funct3=7 funct2=1", "for head h: probs[h,i] = e[h,i] / sums[h]",
             operands="probs>f32[heads,n] e<f32[heads,n] sums<f32[heads] n", counters="attn.elements",
             example="vec.add.f32 a2, a2, a4, a5       # the sums of all cores\nattn.mvgb.f32 a1, a1, a2, a3")
def attn_mvgb_f32(m, probs, e, sums, n):
    if n == 0:
        return
    values = np.stack([m.read_f32(row, n) for row in _score_rows(m, e, n)])
    _write_rows(m, probs, values / m.read_f32(sums, len(values))[:, None])
    m.count("attn.elements", values.size)


# ------------------------------------------------------------------------------------------------ context


def _context(row, form, adds, example=""):
    """A row context = probabilities . values, that starts from zero or adds."""
    def meaning(m, context, values, probs, n):
        if n == 0:
            return
        model = _model(m)
        weights = [m.read_f32(row, n) for row in _score_rows(m, probs, n)]
        cached = _by_row(m, values, n, form, "attn.value_stride")
        shape = model.active, model.head_dim
        totals = m.read_f32(context, model.active * model.head_dim).reshape(shape) if adds else np.zeros(shape, np.float32)
        for total, factors, (elements, scales) in zip(totals, weights, cached, strict=True):
            for factor, element in zip(factors * scales if form == "i8" else factors, elements, strict=True):
                total[:] = total + factor * element.astype(np.float32)
        m.write_f32(context, totals)
        m.count("attn.probabilities", model.active * n)
        m.count("attn.macs", totals.size * n)

    weight = "(probs[h,i] * scale of value i)" if form == "i8" else "probs[h,i]"
    instruction(row, ("" if adds else "context[h,c] = 0; ") + "for head h and its kv = h * kv_heads / heads, for i rising: "
                f"context[h,c] = context[h,c] + {weight} * f32(values[i,kv,c])",
                operands=f"context{'<>' if adds else '>'}f32[heads,head_dim] values<{form}[n,kv_heads,head_dim] "
                         "probs<f32[heads,n] n",
                counters="attn.macs attn.probabilities attn.rows attn.cache_bytes", example=example)(meaning)


_context("attn.macT.f32     R4 opcode=0x7B funct3=5 funct2=0", "f32", True)
_context("attn.macT.f16     R4 opcode=0x7B funct3=5 funct2=1", "f16", True,
         example="attn.macT.f16 a0, a1, a2, a3     # one more tile of a cache that is fetched in tiles")
_context("attn.macT.i8      R4 opcode=0x7B funct3=5 funct2=2", "i8", True)
_context("attn.context.f32  R4 opcode=0x7B funct3=6 funct2=0", "f32", False,
         example="attn.sfm.f32     a2, a2, a3\nattn.context.f32 a0, a1, a2, a3")
_context("attn.context.f16  R4 opcode=0x7B funct3=6 funct2=1", "f16", False)
_context("attn.context.i8   R4 opcode=0x7B funct3=6 funct2=2", "i8", False)
