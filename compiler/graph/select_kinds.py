"""Kinds of operations of caches that choose: ThinK, which drops channels of keys. They join those of ops.py.

They work on states that lie behind the keys of a layer (Value.behind). What depends on the position is said with it; where an
operation does nothing, its results stay as they are. passes/select.py makes them, selected.py says what they compute.
"""

from __future__ import annotations

from compiler.graph.ops import KINDS, Kind

SELECTED: dict[str, Kind] = {kind.name: kind for kind in (
    #    kind              operands                                result                      attributes
    Kind("append.ring",    "x:f32[n]",                             "recent:f32[slots,n]",      "",
         "recent[position mod slots] = x"),
    Kind("append.ring.f16", "x:f16[n]",                            "recent:f16[slots,n]",      "",
         "recent[position mod slots] = x"),
    Kind("append.ring.i8", "x:f32[n]",             "recent:i8[slots,n] scales:f32[slots,kv_heads]", "kv_heads",
         "recent[position mod slots], scales[position mod slots]: codes and scales of x as by quantise.heads"),
    Kind("sum.squares",    "q:f32[n] k:f32[m]",                    "q_squares:f32[n] k_squares:f32[m]", "start window",
         "at positions below start: k_squares = k_squares + k * k; at the last window of them q_squares = q_squares + q * q; both "
         "begin with 0"),
    Kind("choose.channels", "q_squares:f32[n] k_squares:f32[m]",   "channels:index[kept] query_channels:index[query_kept]",
         "heads kv_heads start",
         "at position start - 1, for each head g of keys: score[c] = (q_squares[h,c], summed over its heads h, rising) * "
         "k_squares[g,c]; all but the kept / kv_heads channels with the largest scores are dropped, of equal ones the lower. "
         "channels: those that stay, as numbers in a row of keys, rising; query_channels: the same of each head h, in a row of q"),
    *(Kind(f"append.kept{form}", f"recent:{value}[slots,m] channels:index[kept]", f"old:{value}[positions,kept]", "start window",
           "at position start - 1, for the positions j up to position - window: old[j] = recent[j, channels]; later for "
           "j = position - window: old[j] = recent[j mod slots, channels]") for form, value in (("", "f32"), (".f16", "f16"))),
    Kind("append.kept.i8", "recent:i8[slots,m] scales:f32[slots,kv_heads] channels:index[kept]",
         "old:i8[positions,kept] old_scales:f32[positions,kv_heads]", "start window",
         "as append.kept, and the scales of the position"),
    *(Kind(f"scores.parted{form}", f"q:f32[n] recent:{value}[slots,m] old:{value}[positions,kept] query_channels:index[query_kept]",
           "s:f32[heads,positions]", "heads kv_heads window start",
           "for the positions j that are in old: s[h,j] as scores, of old[j] and q[query_channels]; for later ones as scores, of "
           "recent[j mod slots] and q") for form, value in (("", "f32"), (".f16", "f16"))),
    Kind("scores.parted.i8", "q:f32[n] recent:i8[slots,m] scales:f32[slots,kv_heads] old:i8[positions,kept] "
         "old_scales:f32[positions,kv_heads] query_channels:index[query_kept]",
         "s:f32[heads,positions]", "heads kv_heads window start",
         "as scores.parted, each part as scores.rows.i8: the channels of q that stay have a scale of their own"),
)}

KINDS.update(SELECTED)
