"""The attention unit: one token's attention over a key-value cache, all heads in one instruction. Its UNIT stands here.

    query.py     the heads that there are and that are set, the query buffer
    cache.py     how a cache lies in memory, and what of it an instruction reads
    scores.py    keys . query, keys by row or transposed; writing transposed keys
    softmax.py   scores to probabilities, whole or in the parts of a split head
    context.py   probabilities . values
    rules.py     what holds for many of them, for the manual: what is read, the order of checks, counters

The vocabulary is AttAcc's (SETM, SETH, WR_GB, MAC, MV_SB, SFM, MV_GB); the transposed keys and the softmax of a head that is split
over cores are HPIM's. Sums, softmax and quantisation are those of isa/arithmetic.py. Encoding: opcode custom-3 (0x7B), funct3=4 (R)
and 5, 6, 7 (R4).

Sources: AttAcc, ASPLOS 2024, and its public simulator (commands of attention on HBM3-PIM); HPIM, arXiv 2509.12993 (attention on
SRAM-PIM); STARC, arXiv 2505.05772, and ThinK, arXiv 2407.21018 (lists of cache rows, keys without some channels).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isa.timing.rates import Rate, queue_rates
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.units.attn.rules import CHECKS, EVENTS, READS


def _sound(state: Mapping[str, Any], parameter: Callable[[str], int]) -> bool:
    heads, kv_heads, head_dim, first, active = map(int, state["attn.model"])
    form, start, held, channels = map(int, state["attn.loaded"])
    if not heads:
        return not state["attn.model"].any() and not state["attn.loaded"].any()
    return (heads <= parameter("attn.heads") and 1 <= kv_heads <= heads and heads % kv_heads == 0
            and 1 <= head_dim <= parameter("attn.channels") and 1 <= active <= heads - first
            and form <= 2 and start + held <= parameter("attn.heads") and held * channels <= parameter("attn.channels"))


UNIT = Unit(
    "attn", "Attention", """\
Attention of one token over the keys and values of all tokens before it, for all heads at once. `attn.setm` says how many heads
there are, how many of keys and values, and of how many channels; query heads that share a head of keys and values (GQA) share each
row that is read. A step is then

    queries                      keys                                          values
       | attn.wrgb.f32            |                                              |
       v  * attn.scale            v                                              v
    query buffer ---------> attn.mac.f32 -> scores -> attn.sfm.f32 -> probs -> attn.context.f32 -> context
                            key . query               mask, softmax            sum of prob * value

and for fp32 leaves what vec.gemv.f32, vec.softmax.f32 and vec.macT.f32 leave, head by head, bit for bit. `attn.seth` restricts what
follows to some of the heads: one head to a core, heads in phases. Operands then hold these heads alone, the first one first.

A cache is a row for each token; rows start `attn.key_stride` or `attn.value_stride` bytes apart:

    f32, f16   | head 0: head_dim elements | head 1 | ... |
    i8         | head 0: head_dim codes    | head 1 | ... | to a multiple of 4 | f32 scale of head 0 | of head 1 | ... |

which is what one vec.quant.i8 writes, with vec.scale_group = head_dim. Keys may instead be transposed, as HPIM's SRAM holds
them: a row for each channel, a column for each token. `attn.xpose` writes a token's column, `attn.xmac` is `attn.mac` on such keys:

    row g * head_dim + c     channel c of head g: | token 0 | token 1 | ... |
    behind all channels, i8  4 * attn.key_stride bytes for each head: | f32 scale of token 0 | of token 1 | ... |

fp16 elements are converted to fp32, which is exact, and then all is as for fp32. With int8 keys the query is int8 too
(`attn.wrgb.i8`, one scale a head), and a dot product is an exact integer; int8 values are added up in fp32.

With `attn.row_list` set, position i is not row i of the cache but the row that the list there names: a token's budget of clusters
(STARC), a pruned cache, pages. Keys in segments are one `attn.mac` each, to scores that lie side by side; ThinK's old keys, which
lack some channels, take an `attn.setm` with fewer of them and a query without those. A head that is split over cores needs the
largest score and the sum of the exponentials from all of them: `attn.mvsb`, `attn.exp` and `attn.mvgb` are `attn.sfm` in three
parts, between which they are exchanged.

AttAcc's MV_SB, which takes scores to the softmax buffer, is part of `attn.mac` here, for score rows are memory; MV_GB, which takes
probabilities back to the GEMV buffer, is part of `attn.context`. A length of zero does nothing. Operands may overlap: all is read
before anything is written.

""" + "\n\n".join((READS, CHECKS, EVENTS)),
    queue=6,
    csrs=(
        #   name                 number  meaning                                                         reset        writable
        Csr("attn.scale",        0x850, "fp32 bits that attn.wrgb multiplies queries by; 1 at reset",    0x3F80_0000, 0xFFFF_FFFF),
        Csr("attn.key_stride",   0x851, "bytes between the starts of rows of keys; 0: packed; attn.xmac and attn.xpose refuse 0"),
        Csr("attn.value_stride", 0x852, "bytes between the starts of rows of values; 0: packed"),
        Csr("attn.score_stride", 0x853, "bytes between the starts of the score rows of two heads; 0: packed"),
        Csr("attn.row_list",     0x854, "address of a list of cache rows, u32; 0: row i is position i; attn.xmac refuses others",
            points_to="u32"),
        Csr("attn.list_stride",  0x855, "bytes between the starts of the lists of two heads; 0: one list for all"),
        Csr("attn.mask",         0x856, "address of a bit for each position, 0 leaves its score out; 0: no mask", points_to="b1"),
        Csr("attn.mask_stride",  0x857, "bytes between the starts of the masks of two heads; 0: one mask for all"),
    ),
    counters=spending("macs elements exponentials", (
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
        Counter("attn.row_runs",      83, "runs",         "runs of cache rows with successive numbers, in each list by itself"),
    )),
    parameters=(
        Parameter("attn.heads",    "heads",    "most heads that attn.setm takes"),
        Parameter("attn.channels", "elements", "elements that the query buffer holds: channels of all heads that are set"),
    ),
    rates=(
        *queue_rates("attn"),
        Rate("attn.macs_per_cycle",         "MACs a cycle",     "multiply-accumulates",               "attn.macs"),
        Rate("attn.elements_per_cycle",     "elements a cycle", "scores that go through the softmax", "attn.elements"),
        Rate("attn.exponentials_per_cycle", "elements a cycle", "those that need an exponential",     "attn.exponentials"),
    ),
    sound=_sound,
    state=(
        StateArray("attn.model",   "u4", 5,               "heads, heads of the cache, head_dim; first head set, how many"),
        StateArray("attn.loaded",  "u4", 4,               "query buffer: 0 empty, 1 f32, 2 i8; its first head, heads, head_dim"),
        StateArray("attn.query",   "f4", "attn.channels", "queries as f32"),
        StateArray("attn.codes",   "i1", "attn.channels", "queries as int8"),
        StateArray("attn.scales",  "f4", "attn.heads",    "scales of the int8 queries, one a head"),
    ),
)

# Importing these fills the instruction table, in the order of the manual.
# isort: off
from isa.units.attn import query as query  # noqa: E402
from isa.units.attn import scores as scores  # noqa: E402
from isa.units.attn import softmax as softmax  # noqa: E402
from isa.units.attn import context as context  # noqa: E402
