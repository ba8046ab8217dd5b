"""Neurons that are predicted before any of their weights is read: a small product says which ones to fetch.

    model = with_predictor(model, graph, tokens, "i8")      layers get predict_in, predict_out and thresholds
    graph = by_objects(graph, model, 0.5)

The predictor of a layer guesses what its gate gives, or its up where there is no gate, from the same inputs x:

    guess = predict_out (predict_in x)          (hidden, r), (r, dim), with r = dim / 4

Neurons whose guess is above the threshold are active: |guess|, or guess in models with relu and relu2. Their objects
(placing/objects.py) are fetched, and gate, up and down work on these alone. Values of neurons are stored for active ones only, in
the order of the list. A norm before `down` sees zeros for the others. Graphs in which zeros would become others are refused.

**Fit.** With the inputs X (tokens, dim) of a text and what the matrix W (hidden, dim) makes of them, G = X W^T, the best guess of
rank r in the sum of squares is G V V^T, where V (hidden, r) has the first right singular vectors of G (reduced-rank regression).
So predict_out is V, and predict_in is V^T W. The sign of a vector is free: its largest entry is positive (*assumed*).

**Thresholds.** Of LEVELS levels, level i is a sparsity of i / LEVELS. Its threshold is the floor(i n / LEVELS)-th smallest of the n
guesses of the text, over all neurons of a layer; level 0 keeps every neuron. The program takes the first level that is at least
the sparsity at `ffn_sparsity`, each token anew.

Sources: SLIM, arXiv 2507.09201, section 3 (low-rank predictor with r = d / 4, table of thresholds by layer and sparsity, a compare
without a sort; from a third-party reading note). SLIM starts from the singular vectors of the weights and trains; the closed form
is Izenman, "Reduced-rank regression for the multivariate linear model", J. Multivariate Analysis 5 (1975).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError, one_of
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import PLAIN, Executor, Graph, Op, Value, check
from compiler.model.model import Model
from compiler.model.tensors import F32, Codes, Tensor
from compiler.passes.calibrate import MOST_TOKENS, FoundTensor
from compiler.passes.quantise import QuantisedTensor
from compiler.passes.sparsify import EXACT, check_layers
from isa import arithmetic as exact
from isa.text import counted

FORMATS = ("i8", "i4", "t2")        # of a predictor
LEVELS = 16
RANK = 4                            # inputs of the model for each of a predictor
ALL = float(np.finfo(np.float32).min)       # a threshold that every neuron is above
PARTS = ("predict_in", "predict_out")
ON_LISTED = ("silu", "gelu", "relu", "relu2", "mul", "scale", "bias", "rmsnorm", "quantise")
"""Kinds of operations on values of active neurons. They make 0 of 0, but for biases: only those of gate and up are taken."""
_SAMPLES = 64                       # inputs that a random predictor gets
_SMALL = 1e-7                       # of the largest singular value: smaller ones are rounding


def rank_of(dim: int) -> int:
    """The width of a predictor between its two matrices."""
    return max(1, dim // RANK)


# ------------------------------------------------------------------------------------------------ calibration


@dataclass
class _Layer:
    """What a layer's first product with the neurons took and made, token by token: codes, their scale, results."""

    codes: list[Any]
    scales: list[Any]
    results: list[Any]


def with_predictor(model: Model, graph: Graph, tokens: Sequence[int], form: str,
                   progress: Callable[[int, int], None] | None = None) -> Model:
    """The model with predictors and thresholds that are fitted on `tokens`. Raises ModelError if the text is too short."""
    c, tokens = graph.config, tokens[:MOST_TOKENS]
    if form not in FORMATS:
        raise ModelError("", "--predictor", got=repr(form), expected=one_of(FORMATS))
    check_layers(graph, model)
    least = max(16, rank_of(c.dim))
    if len(tokens) < least:
        raise ModelError(model.path, "--calibrate", got=f"a text of {counted(len(tokens), 'token')}",
                         expected=f"at least {least}, the width of the predictor, better 2,048")
    lead, seen = lead_of(graph), [_Layer([], [], []) for _ in range(c.layers)]

    def look(layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        if op.weights == (f"layer.{lead}",) and layer is not None:
            x = [executor.values[name] for name in op.inputs]
            codes, scale = x if len(x) == 2 else exact.quantise(x[0])
            for values, value in zip((seen[layer].codes, seen[layer].scales, seen[layer].results),
                                     (codes, scale, results[0]), strict=True):
                values.append(value)

    executor = Executor(graph, model, PLAIN, observe=look)
    for done, token in enumerate(tokens, 1):
        if executor.position == c.context:
            executor.restart()
        executor.step(token)
        if progress:
            progress(done, len(tokens))
    tensors: dict[str, Tensor] = {}
    for layer, found in enumerate(seen):
        bias = model.tensor(f"layers.{layer}.{lead}.bias").vector() if lead in c.biases else np.float32(0)
        fitted = fit(model.tensor(f"layers.{layer}.{lead}"), np.stack(found.results), form)
        guesses = guess(fitted, np.stack(found.codes), np.concatenate(found.scales)) + bias
        table = thresholds(guesses if c.activation in EXACT else np.abs(guesses))
        for role, tensor in (*zip(PARTS, fitted, strict=True), ("thresholds", FoundTensor.of("thresholds", table, model.path))):
            tensors[f"layers.{layer}.{role}"] = tensor
    return replace(model, tensors={**model.tensors, **tensors})


def fit(matrix: Tensor, results: F32, form: str) -> tuple[Tensor, Tensor]:
    """predict_in (r, dim) and predict_out (hidden, r) of a matrix (hidden, dim), whose results on a text are (tokens, hidden).

    Where the text has fewer directions than r, the other rows and columns are zero.
    """
    hidden, dim = matrix.shape
    rank, made = rank_of(dim), results.astype(np.float64)
    if len(made) < hidden:
        values, vectors = np.linalg.eigh(made @ made.T)                 # rising: squares of singular values
        singular = np.sqrt(np.maximum(values[::-1][:rank], 0))
        directions = (made.T @ vectors[:, ::-1][:, :rank]) / np.where(singular > 0, singular, 1)
    else:
        values, vectors = np.linalg.eigh(made.T @ made)
        singular, directions = np.sqrt(np.maximum(values[::-1][:rank], 0)), vectors[:, ::-1][:, :rank]
    out = np.zeros((hidden, rank))
    kept = singular > _SMALL * singular[0]
    out[:, :len(kept)][:, kept] = directions[:, kept]
    largest = out[np.abs(out).argmax(0), np.arange(rank)]
    out *= np.where(largest < 0, -1, 1)
    into = np.zeros((rank, dim))
    for first, last in matrix.blocks():
        into += out[first:last].T @ matrix.rows(first, last).astype(np.float64)
    return _in(form, PARTS[0], into, matrix.file), _in(form, PARTS[1], out, matrix.file)


def with_random_predictor(model: Model, form: str) -> Model:
    """The model with a predictor of random weights, the same in all layers, and thresholds of its guesses from normal inputs: for
    measurements without a text."""
    c, random = model.config, np.random.default_rng(1)
    rank = rank_of(c.dim)
    fitted = (_in(form, PARTS[0], random.standard_normal((rank, c.dim)), model.path),
              _in(form, PARTS[1], random.standard_normal((c.hidden, rank)), model.path))
    codes, scales = exact.quantise(random.standard_normal(_SAMPLES * c.dim).astype(np.float32), c.dim)
    guesses = guess(fitted, codes.reshape(_SAMPLES, c.dim), scales)
    table = FoundTensor.of("thresholds", thresholds(guesses if c.activation in EXACT else np.abs(guesses)), model.path)
    found = dict(zip((*PARTS, "thresholds"), (*fitted, table), strict=True))
    return replace(model, tensors={**model.tensors, **{
        f"layers.{layer}.{role}": tensor for layer in range(c.layers) for role, tensor in found.items()}})


def _in(form: str, name: str, values: npt.NDArray[np.float64], origin: Path) -> Tensor:
    """A matrix in a format, with a scale for each row."""
    floats = FoundTensor.of(name, values.astype(np.float32), origin)
    return QuantisedTensor(name, floats.shape, WEIGHT_FORMATS[form], floats.shape[1], source=floats)


def guess(predictor: tuple[Tensor, Tensor], codes: npt.NDArray[np.int8], scales: F32) -> F32:
    """What a predictor makes of activations int8 (tokens, dim) with scales (tokens,): (tokens, hidden), as the program has it."""
    between = _product(predictor[0].codes(), codes, scales)
    narrow, found = exact.quantise(between.reshape(-1), between.shape[1])
    return _product(predictor[1].codes(), narrow.reshape(between.shape), found)


def _product(matrix: Codes, codes: npt.NDArray[np.int8], scales: F32) -> F32:
    """Sums are exact: in fp64 they stay below 2**53."""
    sums: F32 = (codes.astype(np.float64) @ matrix.values.astype(np.float64).T).astype(np.float32)
    return sums * (matrix.scales.reshape(1, -1) * scales.reshape(-1, 1))


def thresholds(values: F32) -> F32:
    """The table of a layer from the values of its neurons on a text: LEVELS sparsities, then the threshold of each."""
    rising = np.sort(values, axis=None)
    counts = np.arange(LEVELS) * len(rising) // LEVELS
    table = np.where(counts > 0, rising[np.maximum(counts, 1) - 1], np.float32(ALL))
    return np.concatenate([np.arange(LEVELS) / LEVELS, table]).astype(np.float32)


# ------------------------------------------------------------------------------------------------ the graph


def lead_of(graph: Graph) -> str:
    """The role whose results are guessed."""
    return "gate" if graph.config.gated else "up"


def by_objects(graph: Graph, model: Model, sparsity: float) -> Graph:
    """The graph whose feed-forward layers fetch the objects of predicted neurons. Raises ModelError where that has no meaning."""
    c, shapes = graph.config, {role: model.tensor(f"layers.0.{role}").shape for role in (*PARTS, "thresholds")}
    check_layers(graph, model)
    rank = shapes["predict_in"][0]
    graph.weights |= {f"layer.{role}": shape for role, shape in shapes.items()}
    graph.values |= {"low": Value("f32", (rank,)), "low_codes": Value("i8", (rank,)), "low_scale": Value("f32", (1,)),
                     "guess": Value("f32", (c.hidden,)), "active": Value("index", (c.hidden,))}
    return check(graph.in_layers(lambda ops, layer: list(_layer(graph, ops, model, layer, sparsity))))


def _layer(graph: Graph, ops: list[Op], model: Model, layer: int, sparsity: float) -> list[Op]:
    """The operations of a layer, by objects: from the product that is guessed to `down`, values are those of active neurons."""
    roles = ("layer.gate", "layer.up") if graph.config.gated else ("layer.up",)
    products = {op.weights[0]: op for op in ops if op.weights and op.weights[0] in (*roles, "layer.down")}
    _check_formats(products, model, layer)
    first, result, listed = products[roles[0]], list[Op](), list[str]()
    if first.inputs != products[roles[-1]].inputs:
        raise ModelError(model.path, "--predict", got="gate and up of different inputs", expected="the same")
    for op in ops:
        if op is first:
            made = tuple(products[role].outputs[0] for role in roles)
            result += [*_guessed(graph, op, sparsity),
                       Op(f"{op.kind}.objects{'.gated' * (len(roles) > 1)}", made, (*op.inputs, "active"), roles)]
            listed += made
        elif op.weights == ("layer.down",):
            result.append(replace(op, kind=op.kind.replace("gemv", "macT") + ".objects", inputs=(*op.inputs, "active")))
        elif any(name in listed for name in op.inputs):
            _check_listed(op, model, listed)
            result += _on_listed(graph, op)
            listed.append(op.outputs[0])
        elif op.weights not in [(role,) for role in roles]:         # up is made with the gate
            result.append(op)
    graph.values |= {name: replace(graph.values[name], listed=True) for name in listed}
    return result


def _guessed(graph: Graph, first: Op, sparsity: float) -> list[Op]:
    """The guess from the inputs of the product that is guessed, and the list of active neurons."""
    result, (x, *scale) = list[Op](), first.inputs
    if not scale:
        codes, scale = f"{x}_codes", [f"{x}_scale"]
        graph.values |= {codes: Value("i8", graph.values[x].shape), scale[0]: Value("f32", (1,))}
        result.append(Op("quantise", (codes, *scale), (x,)))
        x = codes
    result += [Op("gemv.i8", ("low",), (x, *scale), ("layer.predict_in",)),
               Op("quantise", ("low_codes", "low_scale"), ("low",)),
               Op("gemv.i8", ("guess",), ("low_codes", "low_scale"), ("layer.predict_out",))]
    if (bias := f"{first.weights[0]}.bias") in graph.weights:
        result.append(Op("bias", ("guess",), ("guess",), (bias,)))
    above = "active.over" if graph.config.activation in EXACT else "active.above"
    return [*result, Op(above, ("active",), ("guess",), ("layer.thresholds",), {"sparsity": sparsity})]


def _on_listed(graph: Graph, op: Op) -> list[Op]:
    """An operation on values of all neurons as one on those of active ones."""
    if op.kind == "bias":
        return [replace(op, kind="bias.listed", inputs=(*op.inputs, "active"))]
    if op.kind == "rmsnorm":
        whole = f"{op.inputs[0]}_and_zeros"
        graph.values[whole] = Value("f32", graph.values[op.inputs[0]].shape)
        return [Op("spread", (whole,), (op.inputs[0], "active")), replace(op, outputs=(whole,), inputs=(whole,)),
                Op("pick", op.outputs, (whole, "active"))]
    return [op]


def _check_listed(op: Op, model: Model, listed: Sequence[str]) -> None:
    """Raise ModelError for an operation between gate and down that would give neurons that are zero another value."""
    beside = [name for name in op.inputs if name not in listed]
    if op.kind not in ON_LISTED or beside or (op.kind == "bias" and op.weights[0] not in ("layer.gate.bias", "layer.up.bias")):
        raise ModelError(model.path, "--predict", got=f"{op.kind} {', '.join((*op.inputs, *op.weights))} on values of neurons",
                         expected=f"{one_of(ON_LISTED)}, of such values alone: neurons that are left alone stay zero")


def _check_formats(products: Mapping[str, Op], model: Model, layer: int) -> None:
    """Raise ModelError for matrices that cannot be parts of objects."""
    for role, op in products.items():
        tensor = model.tensor(role.replace("layer.", f"layers.{layer}.", 1))
        if op.kind == "gemv.decoded":
            raise ModelError(model.path, "--predict", got="--activations f32 with integer weights",
                             expected="int8 activations: rows of active neurons are not decoded", hint="or --weights f16")
        if tensor.format.planes:
            raise ModelError(model.path, "--predict", got=f"{role.removeprefix('layer.')} in {tensor.stored}",
                             expected="a format that lut.gemv multiplies", hint="objects are not bit planes: --weights i4")
        if role == "layer.down" and tensor.group not in (0, tensor.shape[1]):
            raise ModelError(model.path, "--predict", got=f"down in {tensor.stored}",
                             expected="one scale for the matrix or for a row",
                             hint=f'sums over neurons have no groups: name it in a recipe, "layers.*.down" = "{tensor.format}:row"')
