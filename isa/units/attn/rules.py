"""Rules of the attn unit that hold for many of its instructions, as text of its page: what of a cache is read, in which order an
instruction checks, what it counts. tests/units/test_attn_rules.py holds each line of the tables to both engines."""

READS = """\
Head h of the model attends to head h * kv_heads / heads of the cache, rounded down. The heads that are set are first, first + 1,
...; score rows, lists, masks and the rows of `q`, `context`, `most` and `sums` are those of the heads that are set, the first one
first. `k` of `attn.xpose` has the heads of the cache that these attend to, and no others.

Of a row of the cache an instruction reads the heads of the cache that the heads set attend to, each once for all that share it.
With a list for each head (`attn.list_stride`) every head reads its own rows, whether it shares a head of the cache with another
one or not. A list may name a row twice, in any order, and rows behind n. Without a list all bytes of rows 0..n-1 have to lie in
one region, with a list those of each row that it names. Transposed keys have to lie in one region as a whole: all heads of the
cache, from the first channel to the last token of the last one, or of the last int8 scales.

A stride of 0 means packed rows, but `attn.xmac` and `attn.xpose` have no packed rows: `attn.key_stride` has to be the bytes of a
channel's row. `attn.xmac` asks that `attn.row_list` is 0, and looks at no `attn.list_stride`. Int8 keys and values have f32 scales
between them: their strides are multiples of 4.

int8 products are added up in int32, modulo 2**32, and f32(sum) * scale of the key * scale of the query is multiplied from left to
right. In a context prob * scale is rounded, then the product with the value, then each sum. A mask's bit of position i is bit i
mod 8 of byte i / 8; a score that it leaves out is -inf, whatever lies there, NaN too. Where all are left out probabilities are NaN
and `most` is -inf. A NaN that is written is the canonical one. `attn.context` with n = 0 writes nothing, no zeros either.
`attn.exp` writes its scores before its sums."""

CHECKS = """\
What an instruction asks, first to last, after the checks of all instructions (traps.md). n, and the `position` of `attn.xpose`,
are lengths: CAPACITY beyond 2**28. An n of 0 is all that is looked at then.

    attn.setm                 heads, kv-heads, head-dim
    attn.seth                 model, first
    attn.wrgb                 model, room, q
    attn.mac                  model, query, score-stride, key-stride, list-stride, lists, keys, scores
    attn.xmac                 model, query, score-stride, key-stride, no-list, keys, scores
    attn.xpose                model, key-stride, k, keys
    attn.sfm                  model, score-stride, mask-stride, mask, scores, probs
    attn.mvsb                 model, score-stride, mask-stride, mask, scores, most
    attn.exp                  model, score-stride, mask-stride, mask, scores, most, scores, sums
    attn.mvgb                 model, score-stride, e, sums, probs
    attn.macT                 model, score-stride, value-stride, list-stride, context, lists, values, probs, context
    attn.context              model, score-stride, value-stride, list-stride, lists, values, probs, context

    heads          at most attn.heads                                        CAPACITY         mtval heads
    kv-heads       1..heads, and divides heads                               ILLEGAL_OPERAND  mtval kv_heads
    head-dim       1..attn.channels; 0 is ILLEGAL_OPERAND                    CAPACITY         mtval head_dim
    model          there was an attn.setm                                    ILLEGAL_OPERAND  mtval 0
    first          1 <= count, first + count <= heads                        ILLEGAL_OPERAND  mtval first
    room           heads set * head_dim <= attn.channels                     CAPACITY         mtval heads set * head_dim
    query          the query buffer has all heads set, with head_dim
                   channels, written by attn.wrgb of the same kind: i8 for
                   int8 keys, f32 for others                                 ILLEGAL_OPERAND  mtval attn.loaded[0]: 0, 1, 2
    ...-stride     as traps.md says; of lists and masks, if there are any    ILLEGAL_OPERAND  mtval the stride
    no-list        attn.row_list is 0                                        ILLEGAL_OPERAND  mtval attn.row_list
    others         memory: lists are what attn.row_list points to, mask what attn.mask points to, if there are any; keys and
                   values are, with lists, each row that they name, first to last; all else is looked at as a whole

`attn.wrgb` fills the buffer from its first element on with the heads set; `attn.seth` keeps it, `attn.setm` empties it."""

EVENTS = """\
What an instruction counts besides `attn.ops`, with A heads set, V heads of the cache that they attend to (A with a list for each
head), D = head_dim, E bytes of an element, S = 4 for int8 and otherwise 0. R is 1 without a list; with lists it is, of each list, 1
and as many more as it has entries, behind the first, that are not one more than the entry before:

    attn.wrgb                 queries A*D
    attn.mac, attn.xmac       scores A*n, macs A*n*D, rows V*n, row_runs R, cache_bytes V*n*(D*E+S)
    attn.xpose                transposed V*D
    attn.sfm, attn.exp        elements A*n, exponentials A*n
    attn.mvsb, attn.mvgb      elements A*n
    attn.macT, attn.context   probabilities A*n, macs A*n*D, rows V*n, row_runs R, cache_bytes V*n*(D*E+S)

attn.sfm, attn.mvsb and attn.exp count as masked, of each head set, the positions that its mask leaves out, one mask for all
included. Regions count the bytes that are read and written: of the cache those of attn.cache_bytes, and nothing that lies between
them."""
