"""The quantising pass: a model whose matrices are in the formats of a recipe. Nothing is read before rows are asked for.

    quantise(model, recipe) -> (model, graph)        executed by the same graph executor, packed by placing/weights.py

A matrix gets the format that the recipe names. Where that format holds the codes and scales that the matrix has, it keeps them.
Else the matrix is quantised from its values. Groups that do not divide the columns are refused here; a pruned matrix in binary is
refused when its rows are read.

How scales are found is in formats/scales.py, codebooks in formats/codebook.py, BitNet's rule for `t2:absmean` in model/tensors.py
(AbsmeanTensor). Codes are rounded half to even. Zeros stay zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compiler.errors import ModelError
from compiler.formats import codebook
from compiler.formats.recipe import ABSMEAN, BYTES, CLIP, FIT, NF4, Choice, Recipe
from compiler.formats.scales import CLIPPED, Magnitudes, oddly
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import Graph, Op, Value, check, graph_of, role_of
from compiler.model.model import SIDES, Model, layer_roles
from compiler.model.monarch import StageTensor
from compiler.model.tensors import F32, AbsmeanTensor, Codes, DerivedTensor, Tensor
from compiler.passes.sparse_weights import Wanted, all_dense, with_layouts, with_products


@dataclass(frozen=True)
class RoundedTensor(DerivedTensor):
    """A tensor whose values are rounded to a float format."""

    rounds = True

    def _rows(self, first: int, last: int) -> F32:
        packing = self.format.packing
        rounded: F32 = packing.unpack(packing.pack(self.source.rows(first, last)), self.matrix[1])
        return rounded


@dataclass(frozen=True)
class QuantisedTensor(DerivedTensor):
    """A matrix rounded to codes with scales, which are found by the rule of its format, or by CLIPPED."""

    rounds = True
    clips: bool = False

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The values of its codes. For a codebook the whole matrix is read."""
        return codebook.fit(self._scaled_blocks(), self.format.book) if self.format.book else self.format.levels

    def _scaled_blocks(self) -> Iterator[tuple[F32, F32]]:
        for first, last in self.blocks():
            values, _, divisors = self._scaled(first, last)
            yield values / divisors, np.broadcast_to(divisors, values.shape)

    @cached_property
    def _magnitudes(self) -> Magnitudes:
        """The magnitudes of the whole matrix, which is read for them."""
        found = Magnitudes()
        for first, last in self.source.blocks():
            found.see(self.source.rows(first, last))
        return found

    def _scaled(self, first: int, last: int) -> tuple[F32, F32, F32]:
        """(values, their scales by group, their divisors one by one) of some rows."""
        values, rule, most = self.source.rows(first, last), CLIPPED if self.clips else self.format.rule, self.format.most
        assert rule is not None
        rows, cols = values.shape
        group = self.group or cols
        found = (rule.of_groups(np.abs(values.reshape(rows, cols // group, group)), most) if self.group
                 else np.full((1, 1), rule.of_matrix(self._magnitudes, most), np.float32))
        return values, found, np.repeat(np.where(found == 0, np.float32(1), found), group, axis=1)

    def _codes(self, first: int, last: int) -> Codes:
        values, found, divisors = self._scaled(first, last)
        if self.format.book:
            codes = codebook.nearest(values / divisors, self.levels)
        elif 0 in self.levels:
            codes = np.clip(np.rint(values / divisors), self.levels[0], self.levels[-1])
        else:
            self._refuse_zeros()
            codes = oddly(values / divisors, self.format.most) if self.format.planes else np.where(values < 0, -1, 1)
        return Codes(codes.astype(np.int8), found, self.group or values.shape[1])

    def _refuse_zeros(self) -> None:
        """Raise ModelError for a pruned matrix, in a format that has no code for zero."""
        if self._magnitudes.pruned:
            zeros = 100 * self._magnitudes.zeros / self._magnitudes.count
            raise ModelError(self.file, f"tensor {self.name}", expected="a format with a zero", hint="t2 has -1, 0 and 1",
                             got=f"{zeros:.0f} % zeros for {self.format}, which has no code for them")


@dataclass(frozen=True)
class FittedTensor(QuantisedTensor):
    """A matrix rounded to the values of its codebook, with the scales that are best for them."""

    @property
    def table(self) -> str:
        return FIT

    def _codes(self, first: int, last: int) -> Codes:
        values = self.source.rows(first, last)
        rows, cols = values.shape
        codes, scales = codebook.fitted(values.reshape(rows, cols // self.group, self.group), self.levels)
        return Codes(codes.reshape(rows, cols), scales[:, :, 0], self.group)


@dataclass(frozen=True)
class TableTensor(FittedTensor):
    """The same of NF4, the codebook of all matrices."""

    @property
    def table(self) -> str:
        return NF4

    @cached_property
    def levels(self) -> tuple[int, ...]:
        return codebook.NF4


@dataclass(frozen=True)
class RestoredTensor(DerivedTensor):
    """A matrix whose codes stay what they are, in another format or with a scale for fewer columns."""

    rounds = True

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    def _codes(self, first: int, last: int) -> Codes:
        codes = self.source.codes(first, last)
        if self.group == self.source.group:
            return codes
        wide = np.broadcast_to(codes.scales, (len(codes.values), codes.values.shape[1] // codes.group))
        return replace(codes, scales=np.repeat(wide, codes.group // self.group, axis=1), group=self.group)


def quantise(model: Model, recipe: Recipe, activations: str | None = None, wanted: Wanted = all_dense) -> tuple[Model, Graph]:
    """The model with every matrix in the format that the recipe gives it, and the graph that computes with them.

    A product with integer weights takes int8 activations, absmax over the vector; with `activations` "f32" it takes fp32 ones, and
    weights are decoded. Vectors and learned positions stay as
    they are. A matrix that has codes keeps them where the recipe says nothing or names a format that holds them and their scales.
    Layers with the same formats share a body of the graph. `wanted`: sparse layouts. Raises ModelError.
    """
    tensors: dict[str, Tensor] = {}
    matrices = dict.fromkeys(role for role, tensor in model.tensors.items() if len(tensor.shape) == 2 and role != "positions")
    recipe.check(list(matrices))
    for role, tensor in model.tensors.items():
        form = recipe.format_of(role) if role in matrices else None
        if form is None and role.endswith(SIDES) and model.tensors[role.rpartition(".")[0]].format.has_codes:
            form = BYTES
        tensors[role] = tensor if form is None else _converted(tensor, role, form)
    if recipe.format_of("embedding") is None:
        tensors["embedding"] = _in_bytes(tensors["embedding"])
    tensors = with_layouts(tensors, wanted)
    quantised = replace(model, tensors=tensors)
    graph = graph_of(model)
    graph.bodies = [replace(body, layers=layers) for alike in _alike(quantised) for body in graph.bodies
                    if (layers := tuple(layer for layer in alike if layer in body.layers))]
    graph = _decoded(graph, quantised) if activations == "f32" else _with_codes(graph, quantised)
    if activations not in (None, "f32") and not any(op.kind.startswith("gemv.i8") for _, op in graph.steps()):
        raise ModelError(model.path, "--activations", got=f"{activations} for floating-point weights", expected="integer weights",
                         hint="--weights i8, t2 ...")
    return quantised, with_products(graph, tensors)


def _alike(model: Model) -> list[tuple[int, ...]]:
    """The layers in groups of those whose matrices have the same formats."""
    matrices = [role for role, shape in layer_roles(model.config) if len(shape) == 2]
    groups: dict[tuple[str, ...], list[int]] = {}
    for layer in range(model.config.layers):
        groups.setdefault(tuple(model.tensor(f"layers.{layer}.{role}").stored for role in matrices), []).append(layer)
    return [tuple(layers) for layers in groups.values()]


def _with_codes(graph: Graph, model: Model) -> Graph:
    """The graph in which every product with a matrix of codes is an integer one: its input is quantised, once for all of them."""
    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        result: list[Op] = []
        fresh: set[str] = set()         # values whose codes are up to date
        for op in ops:
            if op.kind == "gemv.i8" and not (tensor := model.tensor(role_of(op.weights[0], layer))).format.has_codes:
                raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"{tensor.format} for int8 activations",
                                 expected="integer weights",
                                 hint="--weights i8, or --activations f32" if model.config.monarch else
                                 "such a model is trained for --weights t2; floats need --activations f32")
            if op.kind == "gemv" and model.tensor(role_of(op.weights[0], layer)).format.has_codes:
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
                kind = "gemv.decoded" if model.tensor(role_of(op.weights[0], layer)).format.has_codes else "gemv"
                op = replace(op, kind=kind, inputs=(sources.get(op.inputs[0], op.inputs[0]),))
            if op.kind != "quantise":
                result.append(op)
        return result

    graph.start, graph.finish = converted(graph.start), converted(graph.finish)
    return check(graph.in_layers(converted))


def _in_bytes(tensor: Tensor) -> Tensor:
    """An embedding whose codes have few bits, with int8 codes instead: programs read single rows of it, and only as int8."""
    byte = WEIGHT_FORMATS["i8"]
    if not tensor.format.has_codes or tensor.format == byte:
        return tensor
    return RestoredTensor(tensor.name, tensor.shape, byte, tensor.group, source=tensor)


def _converted(tensor: Tensor, role: str, choice: Choice) -> Tensor:
    form, cols = choice.format, tensor.shape[1]
    if isinstance(tensor, StageTensor) and not isinstance(choice.group, int) and (not form.has_codes or 0 in form.levels):
        return tensor.converted(_converted(tensor.source, role, choice))            # scales follow from what lies in blocks
    if not form.has_codes:
        return RoundedTensor(tensor.name, tensor.shape, form, source=tensor)
    group = choice.columns(cols)
    if group and cols % group:
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"{cols} columns in groups of {group} ({choice} for {role})",
                         expected="whole groups", hint=f"a scale for each row always fits: {form}:row")
    if choice.table:
        return (TableTensor if choice.table == NF4 else FittedTensor)(tensor.name, tensor.shape, form, group, source=tensor)
    if tensor.format.has_codes and _holds(choice, tensor):
        group = group if choice.group and group else tensor.group
        if (form, group) == (tensor.format, tensor.group):
            return tensor
        return RestoredTensor(tensor.name, tensor.shape, form, group, source=tensor)
    if choice.group == ABSMEAN:
        return AbsmeanTensor(tensor.name, tensor.shape, form, source=tensor)
    return QuantisedTensor(tensor.name, tensor.shape, form, group, source=tensor, clips=choice.group == CLIP)


def _holds(choice: Choice, tensor: Tensor) -> bool:
    """Whether a tensor may keep its codes: the format has their values, and each group of the recipe has one scale already."""
    if not choice.format.holds(tensor.levels):
        return False
    group = choice.columns(tensor.shape[1])
    return not choice.group or not tensor.group or (group > 0 and tensor.group % group == 0)
