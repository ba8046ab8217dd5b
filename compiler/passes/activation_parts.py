"""int8 activations in two parts of four bits: what look-up tables that hold four bits of an activation make of eight.

Products of the lut unit become `gemv.i8.parts`. Sums are exact, so every result stays the same, bit by bit; what it takes does not.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.errors import ModelError
from compiler.graph import Graph, Op, check, role_of
from compiler.model.model import Model
from isa.numbers import ValueKind
from isa.preset import Preset

NARROW = "i8x4"             # the format of activations that asks for it


def with_parts(graph: Graph, model: Model, machine: Preset) -> Graph:
    """The graph whose products of integer weights on the lut unit take four bits of the activations at a time.

    Raises ModelError for bipolar weights, and where the lut unit has no product.
    """
    found = 0

    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        nonlocal found
        result = []
        for op in ops:
            if op.kind == "gemv.i8" and (form := model.tensor(role_of(op.weights[0], layer)).format).has_codes:
                if form.packing.kind is ValueKind.BIPOLAR:
                    raise ModelError(model.path, "--activations", got=f"{NARROW}, and {op.weights[0]} in {form}",
                                     expected="weights that look-up tables multiply",
                                     hint="lut.xnor takes activations bit by bit: --activations i8")
                op, found = replace(op, kind="gemv.i8.parts"), found + 1
            result.append(op)
        return result

    if machine.has_unit("lut"):
        graph.start, graph.finish = converted(graph.start), converted(graph.finish)
        graph = check(graph.in_layers(converted))
    if not found:
        raise ModelError(model.path, "--activations", got=f"{NARROW} on machine {machine.name}",
                         expected="integer weights, multiplied on a lut unit", hint="--machine slim-llama --weights t2")
    return graph
