"""The pass that stores keys and values as int8: attention then reads a quarter of the bytes.

    with_int8_cache(graph)

A row of a cache holds the keys or values of one position. Each of its heads has an fp32 scale, absmax / 127; codes are rounded half
to even, as BitNet's activations. Attention converts codes to fp32 and multiplies them in the order of the fp32 graph. It applies
the scales to scores and to probabilities: there they cost one product a position instead of one for each element. A head's
scale depends on that head only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.graph import Graph, Op, Value, check

KV_FORMATS = ("f32", "i8")


def with_int8_cache(graph: Graph) -> Graph:
    """The graph with int8 caches. `scores` and `context` each become a product with codes and a product with scales."""
    kv_heads = graph.config.kv_heads
    return check(graph.in_layers(lambda ops, _: [new for op in ops for new in _converted(graph, op, kv_heads)]))


def _converted(graph: Graph, op: Op, kv_heads: int) -> Iterator[Op]:
    match op.kind:
        case "append":
            (x,), (cache,) = op.inputs, op.outputs
            codes, scales, cache_scales = f"{x}_codes", f"{x}_scales", f"{cache}_scales"
            graph.values |= {codes: Value("i8", graph.values[x].shape), scales: Value("f32", (kv_heads,)),
                             cache: replace(graph.values[cache], format="i8"),
                             cache_scales: Value("f32", (kv_heads, "positions"), state=True)}
            yield Op("quantise.heads", (codes, scales), (x,), attributes={"kv_heads": kv_heads})
            yield Op("append.i8", (cache, cache_scales), (codes, scales))
        case "scores":
            (q, keys), (scores,) = op.inputs, op.outputs
            graph.values["products"] = graph.values[scores]
            yield Op("scores.i8", ("products",), (q, keys), attributes=op.attributes)
            yield Op("scale.heads", (scores,), ("products", f"{keys}_scales"), attributes=op.attributes)
        case "context":
            (p, values), results = op.inputs, op.outputs
            graph.values["shares"] = graph.values[p]
            yield Op("scale.heads", ("shares",), (p, f"{values}_scales"), attributes=op.attributes)
            yield Op("context.i8", results, ("shares", values), attributes=op.attributes)
        case _:
            yield op
