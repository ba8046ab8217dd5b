"""The float graph as data: what is computed for one token, operation by operation, with names and shapes.

A graph has three lists of operations: `start`, then `layer` once for each layer of the model, then `finish`. Layers whose matrices
have different formats have different lists (`bodies`). A value is an array of one token, or a cache, which stays. An operation
names the values that it reads and writes, and its weights by role ("layer.q" is "layers.3.q" in layer 3). `print(graph)` shows
everything.

An operation is what one instruction does, or one instruction for each head. KINDS lists them all: operands with their shapes, and
what is computed. A letter in shapes is the same number everywhere in an operation; graph/checks.py checks that. Nothing is executed
here: graph/execute.py does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from compiler.errors import shown
from compiler.model.model import Config
from isa.shapes import parse_shape

ValueShape = tuple[int | str, ...]
"""Numbers, or names of EXTENTS."""

BLOCK, CLUSTERS = 64, 4
"""Positions whose keys are clustered together, and clusters of them (select_kinds.py)."""

EXTENTS: dict[str, Callable[[int], int]] = {
    "positions": lambda context: context,
    "clusters": lambda context: CLUSTERS * (context // BLOCK),
    "bounds": lambda context: CLUSTERS * (context // BLOCK) + 1,
}
"""Lengths that depend on how many positions there are: all of them, as many as attention looks at; clusters of whole blocks; where
each of these begins, and where the last one ends."""


@dataclass(frozen=True)
class Argument:
    """What a kind of operation reads or writes: a value of a format, or a weight (format "")."""

    name: str
    format: str
    shape: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of operation. `operands` and `results` as text: `x:f32[n]` is a value, `W[rows,cols]` a weight."""

    name: str
    operands: str
    results: str
    attributes: str             # names of the numbers that it takes
    text: str                   # what is computed

    def inputs(self) -> list[Argument]:
        return [operand for operand in _parse(self.operands) if operand.format]

    def weights(self) -> list[Argument]:
        return [operand for operand in _parse(self.operands) if not operand.format]

    def outputs(self) -> list[Argument]:
        return _parse(self.results)


def _parse(text: str) -> list[Argument]:
    """Arguments as KINDS writes them: "x:f32[n]" is a value, "W[rows,n]" a weight, whose format is the model's."""
    parts = [(name, parse_shape(shape)) for name, _, shape in (item.rpartition(":") for item in text.split())]
    return [Argument(name or shape.form, shape.form if name else "", tuple(filter(None, shape.dims))) for name, shape in parts]


KINDS: dict[str, Kind] = {kind.name: kind for kind in (
    #    kind          operands                                result                      attributes
    Kind("embedding",  "index:index[] W[rows,n]",              "y:f32[n]",                 "offset",
         "y = W[index + offset]"),
    Kind("rmsnorm",    "x:f32[n] gain[size]",                  "y:f32[n]",                 "eps",
         "for each part of size elements: y = (x * r) * gain, r = 1 / sqrt(lanesum(x * x) / size + eps)"),
    Kind("layernorm",  "x:f32[n] gain[n]",                     "y:f32[n]",                 "eps",
         "d = x - lanesum(x) / n; y = (d * r) * gain, r = 1 / sqrt(lanesum(d * d) / n + eps)"),
    Kind("bias",       "x:f32[n] b[n]",                        "y:f32[n]",                 "",
         "y = x + b"),
    Kind("gemv",       "x:f32[cols] W[rows,cols]",             "y:f32[rows]",              "",
         "y[r] = lanesum(W[r] * x)"),
    Kind("gemv.heads", "x:f32[cols] W[rows,cols]",             "y:f32[rows]",              "",
         "as gemv; what is made of y up to the context is made for one head after the other"),
    Kind("gemv.decoded", "x:f32[cols] W[rows,cols]",           "y:f32[rows]",              "",
         "as gemv; of a W of codes: each weight is f32(code) * its scale"),
    Kind("quantise",   "x:f32[n]",                             "codes:i8[n] scale:f32[1]", "",
         "a = max(|x|); codes = rint(x * (127 / a)); scale = a / 127"),
    Kind("gemv.i8",    "x:i8[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",              "",
         "y[r] = (sum over groups g rising of f32(sum of codes of W[r] * x in g) * scale of W[r] in g) * scale; "
         "of a W without codes: y[r] = lanesum(W[r] * f32(x)) * scale"),
    Kind("gemv.i8.heads", "x:i8[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",           "",
         "as gemv.i8; what is made of y up to the context is made for one head after the other"),
    Kind("gemv.i8.parts", "x:i8[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",           "",
         "as gemv.i8, of x = p + 16 q: sums with p, 0..15, and with q, -8..7, are made one after the other"),
    Kind("quantise.i16", "x:f32[n]",                           "codes:i32[n] scale:f32[1]", "",
         "a = max(|x|), at least 2**-100; codes = rint(x * (32767 / a)); scale = a / 32767"),
    Kind("gemv.i16.parts", "x:i32[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",         "",
         "as gemv.i8, of x = p + 16 q + 256 s + 4096 t: sums with p, q, s, 0..15, and with t, -8..7, are made one after the other"),
    Kind("gemv.sparse", "x:f32[cols] W[rows,cols]",            "y:f32[rows]",              "",
         "as gemv; zeros of W are not stored"),
    Kind("gemv.i8.sparse", "x:i8[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",          "",
         "as gemv.i8; zeros of W are not stored"),
    Kind("gemv.i8.cim", "x:i8[cols] scale:f32[1] W[rows,cols]", "y:f32[rows]",             "",
         "as gemv.i8; W stands in macros"),
    Kind("centre.sums", "x:i8[cols] W[rows,cols]",             "sums:i32[pieces,centres]", "columns",
         "sums[p,c] = sum over columns j of piece p of x[j] * code of W's centre c there"),
    Kind("gemv.i8.reuse", "x:i8[cols] scale:f32[1] sums:i32[pieces,centres] W[rows,cols]", "y:f32[rows]", "columns",
         "y[i] = f32(sum over pieces p of sums[p, centre of p] + sum of x * (codes of W[r] - those of its centres)) * "
         "(scale of W[r] * scale), r the row that is stored at i"),
    Kind("place",      "x:f32[rows] W[rows,cols]",             "y:f32[rows]",              "",
         "y[r] = x[i], r the row of W that is stored at i"),
    Kind("quantise.banks", "x:f32[n]",                         "codes:i8[padded] scale:f32[1]", "size",
         "as quantise; codes beyond n are 0"),
    Kind("round.banks", "x:f32[n]",                            "y:f16[padded]",            "size",
         "y = f16(x); 0 beyond n"),
    Kind("gemv.banks.i8", "x:i8[padded] W[rows,cols]",         "parts:i32[tiles,places]",  "tile height banks",
         "parts[t, r // height * banks + r % height] = sum over columns c of tile t of codes of W[r,c] * x[c]; 0 at other places"),
    Kind("gemv.banks.f16", "x:f16[padded] W[rows,cols]",       "parts:f16[tiles,places]",  "tile height banks",
         "the same in fp16: every product is rounded, then the sum; columns go through 16 lanes, which are folded"),
    Kind("collect.i8", "parts:i32[tiles,places] scale:f32[1] W[rows,cols]", "y:f32[rows]", "height banks",
         "y[r] = f32(sum over t of parts[t, place of r]) * (scale of W[r] * scale)"),
    Kind("collect.f16", "parts:f16[tiles,places] W[rows,cols]", "y:f32[rows]",             "height banks",
         "y[r] = sum over t, rising, of f32(parts[t, place of r]); of W nothing but its shape"),
    Kind("active",     "x:f32[n]",                             "indices:index[n]",         "",
         "the positions of x > 0, rising; as many elements as there are"),
    Kind("active.above", "x:f32[n] table[twice_levels]",       "indices:index[n]",         "sparsity",
         "the positions of |x| > threshold, rising; table: levels, then thresholds, of which that of the first level >= sparsity"),
    Kind("active.over", "x:f32[n] table[twice_levels]",        "indices:index[n]",         "sparsity",
         "as active.above, the positions of x > threshold"),
    Kind("gemv.objects", "x:f32[cols] active:index[rows] W[rows,cols]", "y:f32[rows]",  "",
         "y[i] = lanesum(W[active[i]] * x)"),
    Kind("gemv.objects.gated", "x:f32[cols] active:index[rows] W[rows,cols] V[rows,cols]", "y:f32[rows] z:f32[rows]", "",
         "y as gemv.objects, z the same with V"),
    Kind("gemv.i8.objects", "x:i8[cols] scale:f32[1] active:index[rows] W[rows,cols]", "y:f32[rows]", "",
         "y[i] = element active[i] of gemv.i8"),
    Kind("gemv.i8.objects.gated", "x:i8[cols] scale:f32[1] active:index[rows] W[rows,cols] V[rows,cols]",
         "y:f32[rows] z:f32[rows]", "",
         "y as gemv.i8.objects, z the same with V"),
    Kind("macT.objects", "h:f32[cols] active:index[cols] W[rows,cols]", "y:f32[rows]",     "",
         "for i rising: y[r] = y[r] + h[i] * W[r,active[i]]"),
    Kind("macT.i8.objects", "h:i8[cols] scale:f32[1] active:index[cols] W[rows,cols]", "y:f32[rows]", "",
         "as gemv.i8 of a vector with h[i] at active[i], else 0; one scale for W or for each row"),
    Kind("bias.listed", "x:f32[n] active:index[n] b[n]",       "y:f32[n]",                 "",
         "y[i] = x[i] + b[active[i]]"),
    Kind("spread",     "x:f32[n] active:index[n]",             "y:f32[n]",                 "",
         "y[active[i]] = x[i], else 0"),
    Kind("pick",       "x:f32[n] active:index[n]",             "y:f32[n]",                 "",
         "y[i] = x[active[i]]"),
    Kind("gemv.active", "x:f32[cols] active:index[rows] W[rows,cols]", "y:f32[rows]",      "",
         "y[r] = lanesum(W[r] * x) for r in active, else 0"),
    Kind("gemv.i8.active", "x:i8[cols] scale:f32[1] active:index[rows] W[rows,cols]", "y:f32[rows]", "",
         "as gemv.i8 for r in active, else 0"),
    Kind("macT.active", "h:f32[cols] active:index[cols] W[rows,cols]", "y:f32[rows]",      "",
         "for j in active, rising: y[r] = y[r] + h[j] * W[r,j]"),
    Kind("macT.i8.active", "h:i8[cols] scale:f32[1] active:index[cols] W[rows,cols]", "y:f32[rows]", "",
         "as gemv.i8, of the columns in active; one scale for W or for each row"),
    Kind("rope",       "x:f32[n]",                             "y:f32[n]",                 "head_dim adjacent",
         "each head rotated by the angles of the position"),
    Kind("scale",      "x:f32[n]",                             "y:f32[n]",                 "factor",
         "y = x * factor"),
    Kind("append",     "x:f32[n]",                             "cache:f32[positions,n]",   "",
         "cache[position] = x"),
    Kind("scores",     "q:f32[n] keys:f32[positions,m]",       "s:f32[heads,positions]",   "heads kv_heads window",
         "for each head h and position j: s[h,j] = lanesum(keys[j, kv head of h] * q[h]), over the last window positions (0: all)"),
    Kind("softmax",    "x:f32[heads,positions]",               "y:f32[heads,positions]",   "",
         "for each head: e = exp(x - max(x)); y = e / lanesum(e)"),
    Kind("context",    "p:f32[heads,positions] values:f32[positions,m]", "y:f32[n]",       "heads kv_heads window",
         "for each head h, for j rising: y[h] = y[h] + p[h,j] * values[j, kv head of h]"),
    Kind("round",      "x:f32[n]",                             "y:f16[n]",                 "",
         "y = f16(x), to nearest even"),
    Kind("append.f16", "x:f16[n]",                             "cache:f16[positions,n]",   "",
         "cache[position] = x"),
    Kind("scores.f16", "q:f32[n] keys:f16[positions,m]",       "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores, of f32(keys)"),
    Kind("context.f16", "p:f32[heads,positions] values:f16[positions,m]", "y:f32[n]",      "heads kv_heads window",
         "as context, of f32(values)"),
    Kind("quantise.heads", "x:f32[n]",                         "codes:i8[n] scales:f32[kv_heads]", "kv_heads",
         "each head of x as by quantise, with a scale of its own"),
    Kind("append.i8",  "codes:i8[n] scales:f32[kv_heads]",     "cache:i8[positions,n] cache_scales:f32[kv_heads,positions]", "",
         "cache[position] = codes; for each head g: cache_scales[g,position] = scales[g]"),
    Kind("scores.i8",  "q:f32[n] keys:i8[positions,m]",        "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores, of f32(keys)"),
    Kind("context.i8", "p:f32[heads,positions] values:i8[positions,m]", "y:f32[n]",        "heads kv_heads window",
         "as context, of f32(values)"),
    Kind("scale.heads", "x:f32[heads,positions] scales:f32[kv_heads,positions]", "y:f32[heads,positions]", "heads kv_heads window",
         "for each head h and position j: y[h,j] = x[h,j] * scales[kv head of h, j], over the last window positions (0: all)"),
    Kind("append.attn", "x:f32[n]",                            "cache:f32[n,positions]",   "",
         "cache[c, position] = x[c]: transposed"),
    Kind("append.attn.f16", "x:f32[n]",                        "cache:f16[n,positions]",   "",
         "cache[c, position] = f16(x[c]), to nearest even: transposed"),
    Kind("append.rows.i8", "x:f32[n]", "cache:i8[positions,n] cache_scales:f32[positions,kv_heads]", "kv_heads",
         "cache[position], cache_scales[position]: codes and scales of x as by quantise.heads"),
    Kind("scores.attn", "q:f32[n] keys:f32[m,positions]",      "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores, of transposed keys"),
    Kind("scores.attn.f16", "q:f32[n] keys:f16[m,positions]",  "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores.f16, of transposed keys"),
    Kind("scores.rows", "q:f32[n] keys:f32[positions,m]",      "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores"),
    Kind("scores.rows.f16", "q:f32[n] keys:f16[positions,m]",  "s:f32[heads,positions]",   "heads kv_heads window",
         "as scores.f16"),
    Kind("scores.rows.i8", "q:f32[n] keys:i8[positions,m] scales:f32[positions,kv_heads]", "s:f32[heads,positions]",
         "heads kv_heads window",
         "codes, scale of each head of q as by quantise; s[h,j] = f32(sum of keys[j, kv head of h] * codes[h]) * "
         "scales[j, kv head of h] * scale[h], from left to right, over the last window positions (0: all)"),
    Kind("softmax.attn", "x:f32[heads,positions]",             "y:f32[heads,positions]",   "",
         "as softmax"),
    Kind("context.attn", "p:f32[heads,positions] values:f32[positions,m]", "y:f32[n]",     "heads kv_heads window",
         "as context"),
    Kind("context.attn.f16", "p:f32[heads,positions] values:f16[positions,m]", "y:f32[n]", "heads kv_heads window",
         "as context.f16"),
    Kind("context.attn.i8", "p:f32[heads,positions] values:i8[positions,m] scales:f32[positions,kv_heads]", "y:f32[n]",
         "heads kv_heads window",
         "as context, of f32(values), by p[h,j] * scales[j, kv head of h]"),
    Kind("mean.query", "q:f32[n]",                             "mean:f32[n]",              "last",
         "for each of the `last` last tokens of a prompt, rising: mean = mean + f32(1 / last) * q; the first one begins with 0"),
    Kind("score.blocks", "mean:f32[n] keys:f32[positions,m]",  "scores:f32[blocks]",       "heads kv_heads block unit",
         "for each unit of rows of a block between the first and the last: m = 0, for j rising m = m + f32(1 / unit) * keys[j]; "
         "score of the block = max over its units and heads h: lanesum(m[kv head of h] * mean[h])"),
    Kind("score.blocks.f16", "mean:f32[n] keys:f16[positions,m]", "scores:f32[blocks]",    "heads kv_heads block unit",
         "as score.blocks, of f32(keys)"),
    Kind("score.blocks.i8", "mean:f32[n] keys:i8[positions,m] scales:f32[kv_heads,positions]", "scores:f32[blocks]",
         "heads kv_heads block unit",
         "as score.blocks, m = m + (scales[kv head, j] * f32(1 / unit)) * f32(keys[j])"),
    Kind("score.blocks.rows.i8", "mean:f32[n] keys:i8[positions,m] scales:f32[positions,kv_heads]", "scores:f32[blocks]",
         "heads kv_heads block unit",
         "as score.blocks.i8, scales in rows"),
    Kind("score.order", "",                                    "scores:f32[blocks]",       "seed",
         "scores that look at no token: those of seed 0 rise from block to block, those of others are an order that is drawn"),
    Kind("keep.blocks", "scores:f32[blocks]",                  "kept:index[blocks]",       "block budget",
         "the blocks between the first and the last by falling score, equal ones rising, as many as the budget of tokens has room "
         "for beside these two; then sorted; 0 is the block behind the first"),
    Kind("gather.blocks", "kept:index[blocks]", "waiting:f32[positions,n] places:index[positions]", "block",
         "waiting, places = their rows of the first block, of those in kept, and of the last one"),
    Kind("silu",       "x:f32[n]",                             "y:f32[n]",                 "",
         "y = x * sigmoid(x)"),
    Kind("gelu",       "x:f32[n]",                             "y:f32[n]",                 "",
         "y = x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x**3)): the tanh form"),
    Kind("relu",       "x:f32[n]",                             "y:f32[n]",                 "",
         "y = max(x, 0)"),
    Kind("relu2",      "x:f32[n]",                             "y:f32[n]",                 "",
         "r = max(x, 0); y = r * r"),
    Kind("mul",        "a:f32[n] b:f32[n]",                    "y:f32[n]",                 "",
         "y = a * b"),
    Kind("add",        "a:f32[n] b:f32[n]",                    "y:f32[n]",                 "",
         "y = a + b"),
)}


@dataclass(frozen=True)
class Value:
    """An array that operations read and write. A `state` stays from token to token, one in each layer. Of a `listed` one only the
    first elements are there, one for each active neuron. `behind`: the cache whose part of a layer's memory has this state, too."""

    format: str
    shape: ValueShape
    state: bool = False
    listed: bool = False
    behind: str = ""

    def __str__(self) -> str:
        return f"{self.format}{shown(self.shape)}"


@dataclass(frozen=True)
class Op:
    """One operation: names of what it writes and reads, roles of its weights, numbers by name."""

    kind: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)


@dataclass
class LayerBody:
    """The operations of some layers. One body holds all layers, unless formats or sizes differ.

    weights   shapes by role ("layer.up") where they are not those of the graph
    """

    layers: tuple[int, ...]
    ops: list[Op] = field(default_factory=list)
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Cut:
    """Operations before a layer on all tokens of a prompt together, which leave out tokens: from this layer on there are at most
    `budget`. They are done where there are more. `new`: tokens that come behind the prompt at most; None: any number."""

    layer: int
    budget: int
    ops: list[Op] = field(default_factory=list)
    new: int | None = None

    @property
    def name(self) -> str:
        return f"cut{self.layer}"


@dataclass
class Graph:
    """What is computed for one token at one position.

    values   by name; "token" and "position" are given, "logits" is the result. A value may be written again in its own shape:
             "x", the residual stream, is
    weights  shapes by role; the roles of layers begin with "layer."
    bodies   what layers do, each layer in one of them
    cuts     by rising layer: a prompt goes to each of them, then what is left of it to the next one
    """

    config: Config
    values: dict[str, Value]
    weights: dict[str, tuple[int, ...]]
    start: list[Op] = field(default_factory=list)
    bodies: list[LayerBody] = field(default_factory=list)
    finish: list[Op] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bodies = self.bodies or [LayerBody(tuple(range(self.config.layers)))]

    @property
    def layer(self) -> list[Op]:
        """The operations of a layer, if all layers do the same."""
        assert all(body.ops == self.bodies[0].ops for body in self.bodies), "layers do different things"
        return self.bodies[0].ops

    @layer.setter
    def layer(self, ops: list[Op]) -> None:
        body, = self.bodies
        self.bodies = [replace(body, ops=ops)]

    def in_layers(self, change: Callable[[list[Op], int], list[Op]]) -> Graph:
        """The graph with other operations in its layers: `change` gets those of each body and the number of its first layer."""
        return replace(self, bodies=[replace(body, ops=change(body.ops, body.layers[0])) for body in self.bodies])

    def steps(self) -> Iterator[tuple[int | None, Op]]:
        """(layer, op) in the order of execution; layer is None in `start` and `finish`."""
        yield from ((None, op) for op in self.start)
        ops = {layer: body.ops for body in self.bodies for layer in body.layers}
        for layer in range(self.config.layers):
            yield from ((layer, op) for op in ops[layer])
        yield from ((None, op) for op in self.finish)

    @property
    def segments(self) -> list[range]:
        """Layers that the same tokens of a prompt go through: all of them, or those between cuts."""
        borders = [0, *(cut.layer for cut in self.cuts), self.config.layers]
        return [range(first, last) for first, last in pairwise(borders)]

    def rows(self, context: int) -> tuple[int, ...]:
        """The positions for which the caches of each layer need room; () if all need room for the context."""
        if not self.cuts or self.cuts[0].new is None:
            return ()
        room = [context, *(min(context, cut.budget + (cut.new or 0)) for cut in self.cuts)]
        return tuple(rows for rows, layers in zip(room, self.segments, strict=True) for _ in layers)

    def before(self, layer: int, sizes: Sequence[int]) -> int:
        """What the layers in front of one take together, if a layer of each body takes its size."""
        return sum(size * sum(each < layer for each in body.layers) for body, size in zip(self.bodies, sizes, strict=True))

    def segment_of(self, layer: int) -> int:
        """The number of a layer's segment."""
        return sum(cut.layer <= layer for cut in self.cuts)

    def shapes(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of weights in each of the `sections`."""
        yield self.weights
        yield from ({**self.weights, **body.weights} for body in self.bodies)
        yield from (self.weights for _ in range(1 + len(self.cuts)))

    def sections(self) -> Iterator[tuple[str, list[Op]]]:
        """(title, operations) of all lists."""
        yield "start", self.start
        for body in self.bodies:
            yield (f"layer, {self.config.layers} times" if len(self.bodies) == 1 else title_of(body.layers)), body.ops
        yield from ((f"before layer {cut.layer}, of a prompt of more than {cut.budget} tokens", cut.ops) for cut in self.cuts)
        yield "finish", self.finish

    def named(self) -> Iterator[tuple[str, list[Op]]]:
        """(name, operations) of all lists: start, layer, finish. Several bodies are named by their first layers: layer0, layer5;
        cuts by the layer behind them: cut5."""
        yield "start", self.start
        for body in self.bodies:
            yield self.name_of(body), body.ops
        yield from ((cut.name, cut.ops) for cut in self.cuts)
        yield "finish", self.finish

    def name_of(self, body: LayerBody) -> str:
        return "layer" if len(self.bodies) == 1 else f"layer{body.layers[0]}"

    def place_of(self, op: Op, layer: int | None) -> tuple[str, int]:
        """(name of its list, number there) of an operation as `steps` yields it."""
        body = next((body for body in self.bodies if layer in body.layers), None)
        lists = [(self.name_of(body), body.ops)] if body else [(name, ops) for name, ops in self.named() if "layer" not in name]
        return next((name, number) for name, ops in lists for number, other in enumerate(ops) if other is op)

    def __str__(self) -> str:
        c = self.config
        lines = [f"{c.architecture}: {c.layers} layers, dim {c.dim}, {c.heads} heads of {c.head_dim}, {c.kv_heads} of keys and "
                 f"values, hidden {c.hidden}, vocabulary {c.vocab}, context {c.context}"]
        table = [[self._row(op, weights) for op in ops] for (_, ops), weights in zip(self.sections(), self.shapes(), strict=True)]
        widths = [max(len(row[column]) for rows in table for row in rows) for column in range(4)]
        for (title, _), rows in zip(self.sections(), table, strict=True):
            lines += [title, *("  " + "  ".join(map(str.ljust, row, (*widths, 0))).rstrip() for row in rows)]
        return "\n".join(lines)

    def _row(self, op: Op, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str, str, str, str]:
        """Columns of the table: kind, results, their shapes, operands, attributes."""
        weights = [f"{role}{shown(shapes[role])}" for role in op.weights]
        attributes = [f"{name} {value:.9g}" for name, value in op.attributes.items() if value]
        return (op.kind, ", ".join(op.outputs), ", ".join(str(self.values[name]) for name in op.outputs),
                ", ".join([*op.inputs, *weights]), ", ".join(attributes))


def title_of(layers: Sequence[int]) -> str:
    """Numbers of layers as text: "layers 0, 2 to 5"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    said = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return f"layer{'s' * (len(layers) > 1)} {said}"


def role_of(weight: str, layer: int | None) -> str:
    """The model's role of a weight of an operation: "layer.q" in layer 3 is "layers.3.q"."""
    return weight if layer is None else f"layers.{layer}.{weight.removeprefix('layer.')}"
