"""The pass that says how keys and values are stored, and which unit attends to them.

    with_caches(graph, "i8", Attention("attn"))

f32   as they are
f16   rounded to fp16, half to even; attention converts them to fp32, which is exact, and then all is as for f32
i8    each head of a position has an fp32 scale, absmax / 127; codes are rounded half to even, as BitNet's activations. A head's
      scale depends on that head only

The vector unit takes an operation for each head; of int8 it multiplies fp32(codes) by the query and by the probabilities, in the
order of the fp32 graph, and applies scales to scores and probabilities: there they cost one product a position instead of one for
each element. The attention unit takes all heads at once; with int8 keys it makes the query int8 too, so their products are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compiler.graph import Graph, Op, Value, check

KV_FORMATS = ("f32", "f16", "i8")


@dataclass(frozen=True)
class Attention:
    """The unit that attends, and whether it wants transposed keys: a row for each channel, a column for each position."""

    unit: str = "vec"
    transposed: bool = False


def with_caches(graph: Graph, kv: str, attention: Attention) -> Graph:
    """The graph with caches of a format of KV_FORMATS, for a unit. Int8 keys are not transposed."""
    convert = _on_attn if attention.unit == "attn" else _on_vec
    kept = replace(graph, values=dict(graph.values))
    return check(kept.in_layers(lambda ops, _: [new for op in ops for new in convert(kept, op, kv, attention.transposed)]))


def _on_vec(graph: Graph, op: Op, kv: str, _transposed: bool) -> Iterator[Op]:
    """An operation of attention as those that the vector unit does, head by head."""
    match op.kind:
        case "append" if kv == "f16":
            yield from _rounded(graph, op)
        case "append" if kv == "i8":
            (x,), (cache,), kv_heads = op.inputs, op.outputs, _heads(graph, op)
            codes, scales, cache_scales = f"{x}_codes", f"{x}_scales", f"{cache}_scales"
            _declare(graph, cache, kv)
            graph.values |= {codes: Value("i8", graph.values[x].shape), scales: Value("f32", (kv_heads,)),
                             cache_scales: Value("f32", (kv_heads, "positions"), state=True)}
            yield Op("quantise.heads", (codes, scales), (x,), attributes={"kv_heads": kv_heads})
            yield Op("append.i8", (cache, cache_scales), (codes, scales))
        case "scores" if kv == "i8":
            (q, keys), (scores,) = op.inputs, op.outputs
            products = f"products{scores.removeprefix('scores')}"
            graph.values[products] = graph.values[scores]
            yield Op("scores.i8", (products,), (q, keys), attributes=op.attributes)
            yield Op("scale.heads", (scores,), (products, f"{keys}_scales"), attributes=op.attributes)
        case "context" if kv == "i8":
            (p, values), results = op.inputs, op.outputs
            shares = f"shares{p.removeprefix('probabilities')}"
            graph.values[shares] = graph.values[p]
            yield Op("scale.heads", (shares,), (p, f"{values}_scales"), attributes=op.attributes)
            yield Op("context.i8", results, (shares, values), attributes=op.attributes)
        case "scores" | "context" if kv == "f16":
            yield replace(op, kind=f"{op.kind}.f16")
        case _:
            yield op


def _on_attn(graph: Graph, op: Op, kv: str, transposed: bool) -> Iterator[Op]:
    """An operation of attention as the attention unit does it, for all heads."""
    form = "" if kv == "f32" else f".{kv}"
    match op.kind:
        case "append" if kv == "i8":
            (cache,), kv_heads = op.outputs, _heads(graph, op)
            _declare(graph, cache, kv)
            graph.values[f"{cache}_scales"] = Value("f32", ("positions", kv_heads), state=True)
            yield Op("append.rows.i8", (cache, f"{cache}_scales"), op.inputs, attributes={"kv_heads": kv_heads})
        case "append" if transposed and op.outputs[0].startswith("keys"):
            _declare(graph, op.outputs[0], kv, transposed=True)
            yield replace(op, kind=f"append.attn{form}")
        case "append" if kv == "f16":
            yield from _rounded(graph, op)
        case "scores":
            scales = (f"{op.inputs[1]}_scales",) if kv == "i8" else ()
            yield replace(op, kind=f"scores.{'attn' if transposed else 'rows'}{form}", inputs=(*op.inputs, *scales))
        case "softmax":
            yield replace(op, kind="softmax.attn")
        case "context":
            scales = (f"{op.inputs[1]}_scales",) if kv == "i8" else ()
            yield replace(op, kind=f"context.attn{form}", inputs=(*op.inputs, *scales))
        case _:
            yield op


def _rounded(graph: Graph, op: Op) -> Iterator[Op]:
    """A row of an fp16 cache: rounded first."""
    (x,), (cache,) = op.inputs, op.outputs
    _declare(graph, cache, "f16")
    graph.values[f"{x}_half"] = Value("f16", graph.values[x].shape)
    yield Op("round", (f"{x}_half",), (x,))
    yield Op("append.f16", (cache,), (f"{x}_half",))


def _declare(graph: Graph, cache: str, form: str, *, transposed: bool = False) -> None:
    shape = graph.values[cache].shape
    graph.values[cache] = Value(form, shape[::-1] if transposed else shape, state=True)


def _heads(graph: Graph, op: Op) -> int:
    """Heads of what an operation appends."""
    return int(graph.values[op.inputs[0]].shape[0]) // graph.config.head_dim
