"""Pruning: matrices of a dense model get zeros, by magnitude, by Wanda, or with the pattern that FLOW chooses for each layer.

    method = parse_prune("wanda:2:4")
    model = prune(model, method, tokens)

    magnitude   the weights of least magnitude go
    wanda       those of least |weight| * norm of the input that it multiplies, on the tokens of a text
    flow        the same in groups, N of M weights stay; N and M of a layer follow from its outliers (flow.py)

A share (0.5) goes from each row. N:M keeps N of each M neighbours in a row. Of equal weights the first ones go. All matrices of the
layers are pruned; embedding and head stay. Layers are pruned one after the other: the inputs of a layer come from pruned layers.
`@between` behind it leaves the first and the last layer dense, as flow does. `+lowrank:R` behind it repairs each matrix with two
thin ones (lowrank.py).

Sources: M. Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda), arXiv 2306.11695, section 3;
FLOW, arXiv 2504.14365.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of
from compiler.model.model import LINEARS, Model
from compiler.model.tensors import F32, Codes, DerivedTensor
from compiler.passes import lowrank
from compiler.passes.flow import DENSE, choose, outliers
from compiler.passes.layer_by_layer import LayerByLayer
from isa.hints import nearest
from isa.text import counted

MOST_TOKENS = 2048              # of a text: more would hardly change the norms
FEWEST_TOKENS = 16
METHODS = ("magnitude", "wanda", "flow")
LARGEST_GROUP = 16

Progress = Callable[[int, int], None] | None


# ------------------------------------------------------------------------------------------------ what is asked for


@dataclass(frozen=True)
class Pattern:
    """What stays of a row: all but a share of its weights, or `keep` of each `group` neighbours."""

    share: float = 0.0
    keep: int = 0
    group: int = 0

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}" if self.group else f"{self.share:g}"


@dataclass(frozen=True)
class Method:
    """How to prune. Of `flow` the share of the pattern is the mean that is wanted. `rank` of the repair; 0: none. `between`: the
    first and the last layer stay dense."""

    name: str
    pattern: Pattern
    rank: int = 0
    between: bool = False

    @property
    def reads_text(self) -> bool:
        """Whether it needs the inputs of layers on a text."""
        return self.name != "magnitude"

    def __str__(self) -> str:
        return f"{self.name}:{self.pattern}" + "@between" * self.between + (f"+lowrank:{self.rank}" if self.rank else "")


def parse_prune(text: str) -> Method:
    """`magnitude:0.5`, `wanda:2:4`, `flow:0.6`, `wanda:2:4@between`, `wanda:2:4+lowrank:8`. Raises ModelError."""
    how, plus, repair = text.partition("+")
    how, at, where = how.partition("@")
    method = _parse_method(how)
    if at or "@" in repair:
        if where != "between" or method.name == "flow" or plus:
            hint = ("flow leaves the first and the last layer dense anyway" if method.name == "flow" else
                    "a repair is for all layers" if plus else "it leaves the first and the last layer dense")
            raise ModelError("", "--prune", got=repr(text), hint=hint, expected="@between behind magnitude or wanda, and no repair")
        return replace(method, between=True)
    if not plus:
        return method
    kind, _, rank = repair.partition(":")
    if kind != "lowrank" or not (rank.isdecimal() and rank.isascii() and int(rank)):
        raise ModelError("", "--prune", got=repr(f"+{repair}"), expected=f"a repair with a rank: {how}+lowrank:8")
    if method.name == "flow":
        raise ModelError("", "--prune", got=repr(text), hint=f"--prune wanda:2:4+lowrank:{rank}",
                         expected="flow alone: it leaves the first and the last layer as they are, with nothing to repair")
    return replace(method, rank=int(rank))


def _parse_method(text: str) -> Method:
    name, _, rest = text.partition(":")
    if name not in METHODS:
        raise ModelError("", "--prune", got=f"no method {name!r}", expected=f"{one_of(METHODS)}, as in wanda:0.5 or wanda:2:4",
                         hint=nearest(name, METHODS))
    keep, colon, group = rest.partition(":")
    if colon and name != "flow" and keep.isdecimal() and group.isdecimal() and 0 < int(keep) <= int(group) <= LARGEST_GROUP:
        return Method(name, Pattern(keep=int(keep), group=int(group)))
    try:
        share = float(rest)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        others = "" if name == "flow" else f", or N:M with N <= M <= {LARGEST_GROUP}, such as {name}:2:4"
        raise ModelError("", "--prune", got=repr(text), expected=f"a share from 0 to below 1, such as {name}:0.5{others}")
    return Method(name, Pattern(share))


# ------------------------------------------------------------------------------------------------ a matrix


@dataclass(frozen=True, kw_only=True)
class PrunedTensor(DerivedTensor):
    """A matrix with zeros for the weights that a pattern takes away. Codes that stay are what they were.

    norms   (columns,): what magnitudes are multiplied by; None: 1
    """

    pattern: Pattern
    norms: F32 | None

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    @cached_property
    def _kept(self) -> tuple[Any, int]:
        """A bit for each weight, 1 if it stays: uint8 (rows, bytes); and how many weights are not zero. The matrix is read."""
        bits, count = [], 0
        for first, last in self.source.blocks():
            values = np.abs(self.source.rows(first, last))
            metric = values if self.norms is None else values * self.norms
            kept = _least_gone(metric, self.pattern)
            count += int(np.count_nonzero(kept & (values != 0)))
            bits.append(np.packbits(kept, axis=1))
        return np.concatenate(bits), count

    @property
    def nonzero(self) -> int:
        """How many weights are not zero."""
        return self._kept[1]

    def _mask(self, first: int, last: int) -> Any:
        return np.unpackbits(self._kept[0][first:last], axis=1, count=self.matrix[1]).astype(bool)

    def _rows(self, first: int, last: int) -> F32:
        rows: F32 = np.where(self._mask(first, last), self.source.rows(first, last), np.float32(0))
        return rows

    def _codes(self, first: int, last: int) -> Codes:
        codes = self.source.codes(first, last)
        return replace(codes, values=codes.values * self._mask(first, last).astype(np.int8))


def _least_gone(metric: F32, pattern: Pattern) -> Any:
    """Which elements of (rows, columns) stay: bool."""
    rows, cols = metric.shape
    if not pattern.group:
        gone = int(cols * pattern.share)
        if not gone:
            return np.ones(metric.shape, bool)
        limit = np.partition(metric, gone - 1, axis=1)[:, gone - 1:gone]
        less, equal = metric < limit, metric == limit
        return ~(less | (equal & (np.cumsum(equal, axis=1) <= gone - less.sum(axis=1, keepdims=True))))
    # A last group that is short has the same number of places: what is not there goes first.
    whole = np.pad(metric, ((0, 0), (0, -cols % pattern.group)), constant_values=-1).reshape(rows, -1, pattern.group)
    rank = np.zeros(whole.shape, np.int8)                   # how many of the group go before it
    for first in range(pattern.group):
        for second in range(first + 1, pattern.group):
            before = whole[..., first] <= whole[..., second]
            rank[..., second] += before
            rank[..., first] += ~before
    return (rank >= pattern.group - pattern.keep).reshape(rows, -1)[:, :cols]


# ------------------------------------------------------------------------------------------------ a model


def prune(model: Model, method: Method, tokens: Sequence[int] = (), progress: Progress = None, *, count: bool = True) -> Model:
    """The model with pruned layers; its `pruned` says what was done, with the density of each role.

    tokens  of a text, for wanda and flow. `progress` is told how many layers are done, and all.
    count     whether to count densities, for which all matrices are read
    Raises ModelError for a text that is too short, for flow where no layer lies between two others, for block-diagonal matrices.
    """
    layers, tokens = model.config.layers, tokens[:MOST_TOKENS]
    if model.config.monarch:
        raise ModelError(model.path, "--prune", got="block-diagonal matrices",
                         expected="dense ones: these are nearly all zeros already")
    if method.rank:
        lowrank.check_rank(model, method.rank, str(method))
    if method.reads_text and len(tokens) < FEWEST_TOKENS:
        raise ModelError(model.path, "--calibrate", got=f"a text of {len(tokens)} tokens", expected=f"at least {FEWEST_TOKENS}")
    passes = {"magnitude": 1, "wanda": 1, "flow": 2}[method.name]

    def tell(done: int) -> None:
        if progress:
            progress(done, passes * layers)

    patterns, said = [method.pattern] * layers, list[str]()
    if method.between or method.name == "flow":
        if layers < 3:
            raise ModelError(model.path, "--prune", got=f"{method} for {layers} layers", hint="--prune wanda:2:4",
                             expected="3 or more: the first and the last stay dense")
        patterns[0] = patterns[-1] = Pattern(keep=DENSE[0], group=DENSE[1])
    if method.name == "flow":
        patterns, said = _by_outliers(model, method.pattern.share, tokens, tell)
    pruned, run = model, LayerByLayer(model, tokens) if method.reads_text else None
    found = dict[str, lowrank.Repair]()
    for layer in range(layers):
        norms = {role: np.sqrt(square) for role, square in run.inputs(layer).items()} if run else {}
        pruned = _with_layer(pruned, layer, patterns[layer], norms)
        if method.rank:
            found |= lowrank.repairs(model, pruned, layer, norms, method.rank)
        if run:
            run.advance(layer, lowrank.repaired(pruned, found))
        tell((passes - 1) * layers + layer + 1)
    on = f" on {counted(len(tokens), 'token', ',')}" if method.reads_text else ""
    if count:
        said.append(f"density: {_density(pruned)}")
        said += [f"left of what was pruned, behind the repair: {lowrank.said(found)}"] if found else []
    if method.rank:
        pruned = lowrank.with_sides(pruned, found, method.rank)
    return replace(pruned, pruned=(f"pruned by {method}{on}", *said))


def _with_layer(model: Model, layer: int, pattern: Pattern, norms: Mapping[str, F32]) -> Model:
    if pattern.keep == pattern.group and not pattern.share:
        return model
    tensors = dict(model.tensors)
    for role in LINEARS:
        if (tensor := tensors.get(name := f"layers.{layer}.{role}")) is not None:
            tensors[name] = PrunedTensor(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, pattern=pattern,
                                         norms=norms.get(role))
    return replace(model, tensors=tensors)


def _density(model: Model) -> str:
    """The share of weights that are not zero, by role: "q 0.500, k 0.500 ...". Layers that stayed dense count as they are."""
    found = []
    for role in LINEARS:
        sizes = nonzero = 0
        for layer in range(model.config.layers):
            if (tensor := model.tensors.get(f"layers.{layer}.{role}")) is not None:
                size = int(np.prod(tensor.shape))
                sizes += size
                nonzero += tensor.nonzero if isinstance(tensor, PrunedTensor) else sum(
                    int(np.count_nonzero(tensor.rows(*block))) for block in tensor.blocks())
        if sizes:
            found.append(f"{role} {nonzero / sizes:.3f}")
    return ", ".join(found)


def _by_outliers(model: Model, target: float, tokens: Sequence[int],
                 tell: Callable[[int], None]) -> tuple[list[Pattern], list[str]]:
    """FLOW's pattern of each layer of the dense model, and what to say about it. The first and the last layer stay dense."""
    run, layers, found = LayerByLayer(model, tokens), model.config.layers, []
    for layer in range(layers):
        squares = run.inputs(layer)
        found.append(outliers([(model.tensor(f"layers.{layer}.{role}"), np.sqrt(squares[role]))
                               for role in LINEARS if role in squares]))
        run.advance(layer, model)
        tell(layer + 1)
    chosen, mean = choose(found, target)
    chosen = [DENSE, *chosen[1:-1], DENSE]
    said = ["N:M by layer: " + ", ".join(f"{keep}:{group}" for keep, group in chosen),
            f"mean sparsity of layers 1 to {layers - 2}: {mean:g}" + ("" if mean == target else f", the nearest to {target:g}")]
    return [Pattern(keep=keep, group=group) for keep, group in chosen], said
