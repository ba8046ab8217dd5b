"""Kinds of operations of caches that choose: ThinK, which drops channels of keys; STARC, which clusters positions. They join those
of ops.py.

They work on states that lie behind the keys of a layer (Value.behind). What depends on the position is said with it; where an
operation does nothing, its results stay as they are. passes/select.py makes them, selected.py says what they compute.
"""

from __future__ import annotations

from compiler.graph.ops import KINDS, Kind

_CLUSTER = (
    "where position + 1 is a multiple of 64, for each head g of the last 64 keys: x[i] = (key[i] * r) * D ** -0.5 with r = "
    "1 / sqrt(lanesum(key[i] * key[i]) / D + 1e-12); mu[c] = x[c] for 4 clusters c. At most 16 times: label[i] = the first c with "
    "the largest lanesum(x[i] * mu[c]) + lanesum(mu[c] * mu[c]) * -0.5; if no label has changed, stop; mu[c] = (the sum of its "
    "x[i], i rising) * (1 / how many), 0 if there are none. Then the 64 rows of keys and values of head g are put "
    "in the order of labels, those of a label as they were; bounds, where each cluster begins and the last one ends, and centroids "
    "join those before")
"""D: channels of a head."""

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

    *(Kind(f"cluster{form}", f"keys:{value}[positions,m] values:{value}[positions,m]",
           f"keys:{value}[positions,m] values:{value}[positions,m] centroids:{value}[clusters,m] bounds:index[kv_heads,bounds]",
           "kv_heads", _CLUSTER + rounded) for form, value, rounded in (
               ("", "f32", ""), (".f16", "f16", "; centroids are rounded to f16"))),
    Kind("cluster.i8", "keys:i8[positions,m] keys_scales:f32[positions,kv_heads] values:i8[positions,m] "
         "values_scales:f32[positions,kv_heads]",
         "keys:i8[positions,m] keys_scales:f32[positions,kv_heads] values:i8[positions,m] values_scales:f32[positions,kv_heads] "
         "centroids:f16[clusters,m] bounds:index[kv_heads,bounds]", "kv_heads", "as cluster.f16; a key is f32(code) * its scale"),
    *(Kind(f"scores.centroids{form}", f"q:f32[n] centroids:{value}[clusters,m]", "s:f32[heads,clusters]", "heads kv_heads window",
           f"as scores{form}, of the centroids of the clusters that there are") for form, value in (("", "f32"), (".f16", "f16"))),
    Kind("choose.rows",    "s:f32[heads,clusters] bounds:index[kv_heads,bounds]", "rows:index[heads,budget]", "kv_heads",
         "for each head: positions behind the last cluster, then the rows of its clusters by falling s, of equal s the lower "
         "cluster first, until there are budget rows, or all"),
    *(Kind(f"scores.listed{form}", f"q:f32[n] keys:{value}[positions,m] rows:index[heads,budget]", "s:f32[heads,budget]",
           "heads kv_heads window", f"as scores{form}, of the rows of each head")
      for form, value in (("", "f32"), (".f16", "f16"))),
    Kind("scores.listed.i8", "q:f32[n] keys:i8[positions,m] scales:f32[positions,kv_heads] rows:index[heads,budget]",
         "s:f32[heads,budget]", "heads kv_heads window", "as scores.rows.i8, of the rows of each head"),
    Kind("softmax.listed", "x:f32[heads,budget]",                  "y:f32[heads,budget]",      "",
         "as softmax, of as many as there are rows"),
    *(Kind(f"context.listed{form}", f"p:f32[heads,budget] values:{value}[positions,m] rows:index[heads,budget]", "y:f32[n]",
           "heads kv_heads window", f"as context{form}, of the rows of each head")
      for form, value in (("", "f32"), (".f16", "f16"))),
    Kind("context.listed.i8", "p:f32[heads,budget] values:i8[positions,m] scales:f32[positions,kv_heads] rows:index[heads,budget]",
         "y:f32[n]", "heads kv_heads window", "as context.attn.i8, of the rows of each head"),
)}

KINDS.update(SELECTED)
