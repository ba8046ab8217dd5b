"""The pass that divides a graph between the banks of a PIM memory and the units beside it, as HPIM does.

    to_banks(graph, placement) -> graph

A product with a matrix in the banks becomes two operations: `gemv.banks`, on activations that are padded to whole column
commands, and `collect`, which puts the parts together. Attention is the attention unit's already (kv_cache.py). Then the
operations of a layer are put in the order of HPIM's decode pipeline. Keys come first: they are transposed while the banks compute
queries. Values come last: the banks compute them during scores and softmax. The emitter makes a unit wait only for what it needs.

Source: HPIM, arXiv 2509.12993 (from a third-party reading note): generation of K and V, projection and FFN in HBM-PIM; transpose of
K, scores, softmax and context in SRAM-PIM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.errors import ModelError
from compiler.graph import Graph, Op, Value, check
from compiler.placing.bank_placement import Banked, Placement

_PARTS = {"i8": ("i32", "parts"), "f16": ("f16", "half_parts")}          # formats and names: layers may have both


def to_banks(graph: Graph, placement: Placement) -> Graph:
    """The graph for a machine with banks. Raises ModelError for an operation that has no place there."""
    for _, ops in graph.sections():
        _refuse(ops, placement)
    new = replace(graph, values=dict(graph.values))
    sizes: dict[str, int] = {}          # of each vector that matrices in the banks read: whole tiles for all of these matrices
    for layer, op in graph.steps():
        if banked := _banked(op, placement, layer):
            sizes[op.inputs[0]] = max(sizes.get(op.inputs[0], 0), banked.tiles * banked.tile)
    new.start, new.finish = (list(_converted(new, ops, placement, sizes)) for ops in (graph.start, graph.finish))
    return check(new.in_layers(lambda ops, layer: in_pipeline_order(list(_converted(new, ops, placement, sizes, layer)))))


def _refuse(ops: Sequence[Op], placement: Placement) -> None:
    for op in ops:
        if op.kind.endswith(".active") or ".objects" in op.kind:
            raise ModelError(placement.model.path, "--ffn-sparsity", got="a machine that computes products in banks",
                             expected="one with a LUT unit: banks multiply every row that they hold", hint="--machine slim")


# ------------------------------------------------------------------------------------------------ products


def _banked(op: Op, placement: Placement, layer: int | None) -> Banked | None:
    return placement.of(op.weights[0], layer) if op.kind in ("gemv", "gemv.i8") else None


def _converted(graph: Graph, ops: Sequence[Op], placement: Placement, sizes: dict[str, int],
               layer: int | None = None) -> Iterator[Op]:
    rounded: set[str] = set()           # vectors whose fp16 form is up to date
    for op in ops:
        banked = _banked(op, placement, layer)
        if op.kind == "quantise" and op.outputs[0] in sizes:
            size = sizes[op.outputs[0]]
            graph.values[op.outputs[0]] = Value("i8", (size,))
            yield replace(op, kind="quantise.banks", attributes={"size": size})
        elif banked is None:
            yield op
        else:
            x, *scale = op.inputs
            if banked.format == "f16":
                if x not in rounded:
                    graph.values[f"{x}_half"] = Value("f16", (sizes[x],))
                    yield Op("round.banks", (f"{x}_half",), (x,), attributes={"size": sizes[x]})
                    rounded.add(x)
                x = f"{x}_half"
            yield from _product(graph, op, banked, x, scale)
        rounded -= set(op.outputs)


def _product(graph: Graph, op: Op, banked: Banked, x: str, scale: Sequence[str]) -> Iterator[Op]:
    (y,) = op.outputs
    form, name = _PARTS[banked.format]
    parts, places = f"{y}_{name}", {"height": banked.height, "banks": banked.banks.banks}
    graph.values[parts] = Value(form, (banked.tiles, banked.places))
    yield Op(f"gemv.banks.{banked.format}", (parts,), (x,), op.weights, {"tile": banked.tile, **places})
    yield Op(f"collect.{banked.format}", (y,), (parts, *scale), op.weights, places)


# ------------------------------------------------------------------------------------------------ order


def in_pipeline_order(ops: Sequence[Op]) -> list[Op]:
    """Operations in this order: keys and their transposition, queries and scores, values, softmax, the rest. Each comes after
    the operations that it needs."""
    def first(kind: str, *names: str) -> list[int]:
        return [number for number, op in enumerate(ops) if op.kind.startswith(kind) and {*names} <= {*op.outputs, *op.weights}][:1]

    order: list[int] = []
    keys = next((name for op in ops for name in op.outputs if name.startswith("keys")), "keys")
    for wanted in (first("append", keys), first("scores"), first("gemv", "layer.v"), first("softmax")):
        for number in wanted:
            order += [needed for needed in _needed(ops, number) if needed not in order]
    return [ops[number] for number in (*order, *(number for number in range(len(ops)) if number not in order))]


def _needed(ops: Sequence[Op], number: int) -> list[int]:
    """An operation and those that must come before it, in their order."""
    needed = {number}
    for earlier in range(number - 1, -1, -1):
        first = ops[earlier]
        if any(_depends(ops[later], first) for later in needed):
            needed.add(earlier)
    return sorted(needed)


def _depends(later: Op, first: Op) -> bool:
    return bool(set(first.outputs) & {*later.inputs, *later.outputs} or set(first.inputs) & set(later.outputs))
