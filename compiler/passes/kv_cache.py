"""The pass that keeps keys and values as int8: a quarter of the memory, and of the bytes that attention reads.

    with_int8_cache(graph)

Each row of a cache, the keys or values of one position, has an fp32 scale for each of its heads: absmax / 127, codes rounded half
to even, as BitNet's activations. Attention multiplies codes converted to fp32, in the order of the fp32 graph, and puts the scales
on scores and on probabilities, where there is one number a position instead of a row. A head's scale depends on that head
alone, so the cache of a text is the same however many heads share a machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from compiler.graph import Graph, Op, Value, check

KV_FORMATS = ("f32", "i8")


def with_int8_cache(graph: Graph) -> Graph:
    """The graph with int8 caches. `scores` and `context` become products with codes and, for each, a product with scales."""
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
