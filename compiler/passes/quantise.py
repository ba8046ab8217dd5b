"""The quantising pass: a model whose matrices are in the formats of a recipe. Nothing is computed until rows are read.

    quantise(model, recipe) -> (model, graph)        executed by the same graph executor, packed by weights.py

A matrix gets the format that is asked for. Where that holds the codes and scales that it has, it keeps them; else it is quantised
from its values. What cannot be is refused: groups that are no whole ones, a pruned matrix in binary.

Scales are those of least squared error for ternary codes (scales.py; `t2:absmean` is BitNet's, AbsmeanTensor in tensors.py),
mean magnitude for binary ones (XNOR-Net, arXiv 1603.05279, section 3.1: least squares too), absmax / largest code for integers;
codes are rounded half to even. Codebooks are scaled as int8, and each matrix gets the one that fits it best (codebook.py). Zeros
stay zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compiler.errors import ModelError
from compiler.formats import codebook, scales
from compiler.formats.recipe import ABSMEAN, CODE_FORMATS, CODEBOOKS, FLOAT_FORMATS, TERNARY, Recipe, WeightFormat
from compiler.formats.scales import Magnitudes
from compiler.graph import Body, Graph, Op, Value, build, check, role_of
from compiler.model.model import Model, layer_roles
from compiler.model.tensors import F32, AbsmeanTensor, Codes, Tensor
from isa import arithmetic as exact

LEVELS: dict[str, tuple[int, ...]] = {name: (-1, 1) if name == "b1" else tuple(range(-most, most + 1))
                                      for name, (most, _) in CODE_FORMATS.items() if name not in CODEBOOKS}
"""What codes become by quantising: symmetric."""
HELD = LEVELS | {f"i{bits}": tuple(range(-(1 << bits - 1), 1 << bits - 1)) for bits in (2, 3, 4, 8)}
"""What codes of a checkpoint may be: two's complement holds one more, as Q4_0 and Q8_0 do."""


@dataclass(frozen=True)
class RoundedTensor(Tensor):
    """A tensor whose values are rounded to f16 or bf16; `format` says which. f32 is left as it is."""

    source: Tensor | None = None

    @property
    def file(self) -> Path:
        assert self.source is not None
        return self.source.file

    def _rows(self, first: int, last: int) -> F32:
        assert self.source is not None
        values = self.source.rows(first, last)
        if self.format == "f32":
            return values
        narrow, wide = ((exact.f16_bits, exact.f32_from_f16) if self.format == "f16" else
                        (exact.bf16_bits, exact.f32_from_bf16))
        rounded: F32 = wide(narrow(values))
        return rounded


@dataclass(frozen=True)
class QuantisedTensor(Tensor):
    """A matrix rounded to integer codes with scales.

    group  columns that share a scale; 0: the whole tensor does
    """

    source: Tensor | None = None
    group: int = 0

    @property
    def file(self) -> Path:
        assert self.source is not None
        return self.source.file

    @cached_property
    def _magnitudes(self) -> Magnitudes:
        """Of the whole tensor: needs a walk through it."""
        assert self.source is not None
        found = Magnitudes()
        for first, last in self.source.blocks():
            found.see(self.source.rows(first, last))
        return found

    @cached_property
    def _tensor_scale(self) -> np.float32:
        found = self._magnitudes
        if self.format == "b1":
            return found.mean
        return found.best if self.format in TERNARY else found.most / np.float32(CODE_FORMATS[self.format][0])

    def _group_scales(self, magnitudes: F32) -> F32:
        """(rows, groups, group) -> (rows, groups)."""
        if self.format in TERNARY:
            return scales.best(magnitudes)
        found: F32 = (magnitudes.mean(axis=2, dtype=np.float64).astype(np.float32) if self.format == "b1"
                      else magnitudes.max(axis=2) / np.float32(CODE_FORMATS[self.format][0]))
        return found

    def _scaled(self, first: int, last: int) -> tuple[F32, F32, F32]:
        """(values, their scales by group, their divisors one by one) of some rows."""
        assert self.source is not None
        values = self.source.rows(first, last)
        rows, cols = values.shape
        group = self.group or cols
        found = (self._group_scales(np.abs(values.reshape(rows, cols // group, group))) if self.group
                 else np.full((1, 1), self._tensor_scale, np.float32))
        return values, found, np.repeat(np.where(found == 0, np.float32(1), found), group, axis=1)

    def _codes(self, first: int, last: int) -> Codes:
        values, found, divisors = self._scaled(first, last)
        most = CODE_FORMATS[self.format][0]
        if self.format == "b1":
            codes = np.where(values < 0, -1, 1)
        elif self.format in CODEBOOKS:
            codes = codebook.nearest(values / divisors, self.levels)
        else:
            codes = np.clip(np.rint(values / divisors), -most, most)
        return Codes(codes.astype(np.int8), found, self.group or values.shape[1], self.levels)

    def fitted(self) -> QuantisedTensor:
        """With the codebook that fits it best, or ModelError for zeros that binary has no code for: needs a walk through it."""
        def blocks() -> Iterator[tuple[F32, F32]]:
            for first, last in self.blocks():
                values, _, divisors = self._scaled(first, last)
                yield values / divisors, np.broadcast_to(divisors, values.shape)

        if self.format in CODEBOOKS:
            return replace(self, levels=codebook.fit(blocks(), CODEBOOKS[self.format]))
        if self.format == "b1" and self._magnitudes.pruned:
            zeros = 100 * self._magnitudes.zeros / self._magnitudes.count
            raise ModelError(self.file, f"tensor {self.name}", got=f"{zeros:.0f} % zeros for b1, which has no code for them",
                             expected="a format with a zero", hint="t2 has -1, 0 and 1")
        return self

    def _rows(self, first: int, last: int) -> F32:
        return self._codes(first, last).floats()


@dataclass(frozen=True)
class RestoredTensor(Tensor):
    """A matrix whose codes stay what they are and are stored in another format, or with a scale for fewer columns."""

    source: Tensor | None = None
    group: int = 0              # 0: scales are the source's too

    @property
    def file(self) -> Path:
        assert self.source is not None
        return self.source.file

    def _codes(self, first: int, last: int) -> Codes:
        assert self.source is not None
        codes = self.source.codes(first, last)
        if not self.group:
            return codes
        wide = np.broadcast_to(codes.scales, (len(codes.values), codes.values.shape[1] // codes.group))
        return replace(codes, scales=np.repeat(wide, codes.group // self.group, axis=1), group=self.group)

    def _rows(self, first: int, last: int) -> F32:
        return self._codes(first, last).floats()


def quantise(model: Model, recipe: Recipe, activations: str | None = None) -> tuple[Model, Graph]:
    """The model with every matrix in the format that the recipe gives it, and the graph that computes with them.

    A product with integer weights takes int8 activations, absmax over the vector; with `activations` "f32" it takes fp32 ones, and
    weights are decoded. Vectors and learned positions stay as
    they are. A matrix that has codes keeps them where the recipe says nothing or names a format that holds them and their scales.
    Layers with the same formats share a body of the graph. Raises ModelError.
    """
    tensors: dict[str, Tensor] = {}
    matrices = [role for role, tensor in model.tensors.items() if len(tensor.shape) == 2 and role != "positions"]
    recipe.check(matrices)
    for role, tensor in model.tensors.items():
        form = recipe.format_of(role) if role in matrices else None
        tensors[role] = tensor if form is None else _converted(tensor, role, form)
    if recipe.format_of("embedding") is None:
        tensors["embedding"] = _in_bytes(tensors["embedding"])
    quantised = replace(model, tensors=tensors)
    graph = build(model.config)
    graph.bodies = [Body(layers, graph.layer) for layers in _alike(quantised)]
    graph = _decoded(graph, quantised) if activations == "f32" else _with_codes(graph, quantised)
    if activations == "i8" and not any(op.kind == "gemv.i8" for _, op in graph.steps()):
        raise ModelError(model.path, "--activations", got="i8 for weights that are floats", expected="weights of integers",
                         hint="--weights i8, t2 ...")
    return quantised, graph


def _alike(model: Model) -> list[tuple[int, ...]]:
    """The layers in groups of those whose matrices have the same formats."""
    matrices = [role for role, shape in layer_roles(model.config) if len(shape) == 2]
    groups: dict[tuple[str, ...], tuple[int, ...]] = {}
    for layer in range(model.config.layers):
        formats = tuple(storage(model.tensor(f"layers.{layer}.{role}")) for role in matrices)
        groups[formats] = (*groups.get(formats, ()), layer)
    return list(groups.values())


def _with_codes(graph: Graph, model: Model) -> Graph:
    """The graph in which every product with a matrix of codes is an integer one: its input is quantised, once for all of them."""
    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        result: list[Op] = []
        fresh: set[str] = set()         # values whose codes are up to date
        for op in ops:
            if op.kind == "gemv.i8" and not (tensor := model.tensor(role_of(op.weights[0], layer))).levels:
                raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"{storage(tensor)} for int8 activations",
                                 expected="weights that are integers",
                                 hint="--weights t2 is what such a model is trained for; floats go with --activations f32")
            if op.kind == "gemv" and model.tensor(role_of(op.weights[0], layer)).levels:
                x = op.inputs[0]
                codes, scale = f"{x}_codes", f"{x}_scale"
                if x not in fresh:
                    graph.values |= {codes: Value("i8", graph.values[x].shape), scale: Value("f32", (1,))}
                    result.append(Op("quantise", (codes, scale), (x,)))
                    fresh.add(x)
                op = Op("gemv.i8", op.outputs, (codes, scale), op.weights)
            result.append(op)
            fresh -= set(op.outputs)
        return result

    graph.start, graph.finish = converted(graph.start), converted(graph.finish)
    return check(graph.in_layers(converted))


def _decoded(graph: Graph, model: Model) -> Graph:
    """The graph in which no activations are rounded: products with a matrix of codes decode it."""
    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        result: list[Op] = []
        sources = {op.outputs[0]: op.inputs[0] for op in ops if op.kind == "quantise"}      # of the model's own codes
        for op in ops:
            if op.kind in ("gemv", "gemv.i8"):
                kind = "gemv.decoded" if model.tensor(role_of(op.weights[0], layer)).levels else "gemv"
                op = replace(op, kind=kind, inputs=(sources.get(op.inputs[0], op.inputs[0]),))
            if op.kind != "quantise":
                result.append(op)
        return result

    graph.start, graph.finish = converted(graph.start), converted(graph.finish)
    return check(graph.in_layers(converted))


def storage(tensor: Tensor) -> str:
    """How a matrix is stored: "f32", "t2", with the columns that share a scale "i8:64" or "t2:tensor"."""
    if not tensor.levels:
        return tensor.format if tensor.format in FLOAT_FORMATS else "f32"
    codes = tensor.codes(0, min(2, tensor.shape[0]))         # of one row, its own scale and one for all look alike
    name = tensor.format if tensor.format in CODE_FORMATS else next(
        name for name in ("t2", "i2", "i3", "i4", "i8") if set(tensor.levels) <= set(HELD[name]))
    return f"{name}:{'tensor' if codes.scales.shape == (1, 1) and tensor.shape[0] > 1 else codes.group}"


def _in_bytes(tensor: Tensor) -> Tensor:
    """The embedding of a checkpoint that has few bits for it: one row at a time is read, which bytes are needed for."""
    if not tensor.levels or storage(tensor).startswith("i8:"):
        return tensor
    return RestoredTensor(tensor.name, tensor.shape, "i8", tensor.levels, source=tensor)


def _converted(tensor: Tensor, role: str, form: WeightFormat) -> Tensor:
    if form.is_float:
        return RoundedTensor(tensor.name, tensor.shape, form.name, source=tensor)
    cols = tensor.shape[1]
    group = form.columns(cols)
    if group and cols % group:
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"{cols} columns in groups of {group} ({form} for {role})",
                         expected="whole groups", hint=f"a scale for each row always fits: {form.name}:row")
    if tensor.levels and _holds(form, tensor):
        kept = RestoredTensor(tensor.name, tensor.shape, form.name, tensor.levels, source=tensor, group=group if form.group else 0)
        return tensor if storage(tensor) == storage(kept) else kept
    levels = LEVELS.get(form.name, ())
    if form.group == ABSMEAN:
        return AbsmeanTensor(tensor.name, tensor.shape, form.name, levels, floats=tensor)
    return QuantisedTensor(tensor.name, tensor.shape, form.name, levels, source=tensor, group=group).fitted()


def _holds(form: WeightFormat, tensor: Tensor) -> bool:
    """Whether a format has the values of a tensor's codes, and scales for as few columns where it says for how many."""
    book = CODEBOOKS.get(form.name)
    if not (len(tensor.levels) <= book if book else set(tensor.levels) <= set(HELD[form.name])):
        return False
    group, shared = form.columns(tensor.shape[1]), storage(tensor).partition(":")[2]
    if not form.group or shared == "tensor":
        return True
    return bool(group) and int(shared) % group == 0
