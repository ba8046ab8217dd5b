"""Activations in parts of four bits, as look-up tables that hold four bits of an activation take them: two parts of int8
activations (i8x4), four of activations of 16 bits (i16x4).

Products of the lut unit become `gemv.i8.parts` or `gemv.i16.parts`. Sums are exact. So with i8x4 every result stays the same, bit
by bit; what it takes does not. With i16x4 activations are quantised to 16 bits: results are nearer to those of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from compiler.errors import ModelError
from compiler.graph import Graph, Op, Value, check, role_of
from compiler.model.model import Model
from compiler.model.tensors import Tensor
from isa.numbers import ValueKind
from isa.preset import Preset


@dataclass(frozen=True)
class Parts:
    """A format of activations that is multiplied part by part.

    form    of the codes: kinds of operations are named so
    bits    of an activation
    """

    form: str
    bits: int


PARTS = {"i8x4": Parts("i8", 8), "i16x4": Parts("i16", 16)}
"""By what --activations says."""

MOST_16 = (1 << 15) - 1     # the largest code of 16 bits


def with_parts(graph: Graph, model: Model, machine: Preset, asked: str) -> Graph:
    """The graph whose products of integer weights on the lut unit take four bits of the activations at a time, as one of PARTS.

    Raises ModelError for bipolar weights, and where the lut unit has no product. Of 16 bits also where sums would not fit 32 bits,
    and where a product is not one of dense integer weights on the lut unit.
    """
    parts, found = PARTS[asked], 0

    def refuse(got: str, expected: str, hint: str) -> ModelError:
        return ModelError(model.path, "--activations", got=f"{asked}{got}", expected=expected, hint=hint)

    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        nonlocal found
        result = []
        for op in ops:
            if op.kind == "gemv.i8" and (tensor := model.tensor(role_of(op.weights[0], layer))).format.has_codes:
                if tensor.format.packing.kind is ValueKind.BIPOLAR:
                    raise refuse(f", and {op.weights[0]} in {tensor.format}", "weights that look-up tables multiply",
                                 "lut.xnor takes activations bit by bit: --activations i8")
                if parts.bits == 16 and (most := columns_of_16_bits(tensor)) < (cols := tensor.group or tensor.matrix[1]):
                    raise refuse(f", and {op.weights[0]} in {tensor.format} with a scale for {cols:,} columns",
                                 f"a scale for at most {most:,} columns: a sum has 32 bits",
                                 f"--weights {tensor.format}:64, or i8x4")
                op, found = replace(op, kind=f"gemv.{parts.form}.parts"), found + 1
            elif parts.bits == 16 and op.kind.startswith("gemv.i8"):
                raise refuse(f", and {op.weights[0]}, which is multiplied by 8 bits ({op.kind})",
                             "dense products of integer weights on the lut unit", "--sparse off")
            result.append(op)
        return result

    def wider(ops: list[Op], _layer: int | None = None) -> list[Op]:
        return [replace(op, kind="quantise.i16") if op.kind == "quantise" and op.outputs[0] in wide else op for op in ops]

    if machine.has_unit("lut"):
        graph = _changed(graph, converted)
        wide = {op.inputs[0] for _, op in graph.steps() if op.kind == "gemv.i16.parts"}
        graph = _changed(graph, wider)
        graph.values |= {name: Value("i32", graph.values[name].shape) for name in wide}
        graph = check(graph)
    if not found:
        raise refuse(f" on machine {machine.name}", "integer weights, multiplied on a lut unit",
                     "--machine slim-llama --weights t2")
    return graph


def columns_of_16_bits(tensor: Tensor) -> int:
    """The columns of a matrix of codes whose products with activations of 16 bits fit a sum of 32 bits, whatever the codes are."""
    largest = tensor.format.most if tensor.format.book else max(map(abs, tensor.levels))
    return ((1 << 31) - 1) // (largest * MOST_16)


def _changed(graph: Graph, change: Callable[..., list[Op]]) -> Graph:
    """The graph with all its lists of operations changed."""
    graph = graph.in_layers(change)
    graph.start, graph.finish = change(graph.start), change(graph.finish)
    return graph
