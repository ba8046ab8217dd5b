"""The pass that lets caches choose: ThinK keeps fewer channels of old keys, STARC looks at clusters of positions up to a budget.

    with_selection(graph, parse_select("think:0.4"), model.path)

It comes behind passes/kv_cache.py and changes what the attention unit does in the layers that choose. ThinK, arXiv 2407.21018: keys
of the last WINDOW positions are whole; older ones have lost the channels that matter least to queries. Which ones is decided once,
behind `start` positions. STARC, arXiv 2505.05772: each whole block of positions is clustered by its keys; a query looks at the
clusters whose centroids it scores highest, and at the positions behind the last block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.errors import ModelError, one_of
from compiler.graph import Graph, Op, Value, check, title_of
from compiler.graph.ops import BLOCK
from isa.hints import nearest

WINDOW = 32         # positions whose keys are whole, and whose queries decide. ThinK's public code: recent_size, last queries
START = 64          # positions, unless more are asked for. Ours: the channels that stay are chosen behind them
FROM = 2            # the first layer that looks at clusters, unless another is asked for: STARC's public code
OPTION = "--kv-select"
_FORMS = {"starc": ("([0-9]{1,9})", "starc:BUDGET, such as starc:256: each head looks at so many positions"),
          "think": (r"([0-9]{0,9}\.?[0-9]{1,9})(?::([0-9]{1,9}))?",
                    "think:RATIO or think:RATIO:START, such as think:0.4 or think:0.4:256: the share of the keys' channels that is "
                    "dropped, and the positions behind which they are chosen")}
"""Of each method what stands behind the colon, and how it is said in messages."""


@dataclass(frozen=True)
class Selection:
    """What a cache chooses: by STARC if there is a budget, else by ThinK.

    ratio    of the channels of a head of keys that are dropped
    start    positions behind which they are chosen
    budget   positions that each head of queries looks at, at most; layers below `first` look at all
    """

    ratio: float = 0.0
    start: int = START
    budget: int = 0
    first: int = FROM

    def __str__(self) -> str:
        return f"starc:{self.budget}" if self.budget else f"think:{self.ratio:g}" + f":{self.start}" * (self.start != START)

    def check_context(self, context: int) -> None:
        """Raise ModelError where nothing would be left out of a context of so many positions."""
        if (self.budget or self.start) >= context:
            what = f"all of {self.budget} positions" if self.budget else f"channels are dropped behind {self.start} positions"
            raise ModelError("", OPTION, got=f"{self}: {what}", expected=f"a longer context: it has {context} positions",
                             hint="--context, or a model with more")


@dataclass(frozen=True)
class Caches:
    """The format of keys and values, one of KV_FORMATS; what of them each token looks at, None: all; and the order in which a chunk
    does, one of DATAFLOWS (passes/dataflow.py), None: the first. `near`: bytes of the scratchpad for them (placing/near_caches.py);
    None: none are set apart."""

    format: str = "f32"
    select: Selection | None = None
    dataflow: str | None = None
    near: int | None = None


def parse_select(text: str, first: int | None = None) -> Selection:
    """What --kv-select says: starc:BUDGET, think:RATIO or think:RATIO:START. `first`: --kv-select-from. Raises ModelError."""
    method, _, numbers = text.partition(":")
    if method not in _FORMS:
        raise ModelError("", OPTION, got=f"no method {method!r}", expected=one_of(_FORMS), hint=nearest(method, _FORMS))
    form, example = _FORMS[method]
    found = re.fullmatch(form, numbers, re.ASCII)
    if not found:
        raise ModelError("", OPTION, got=repr(text), expected=example)
    if method == "starc":
        if (budget := int(found[1])) < BLOCK:
            raise ModelError("", OPTION, got=f"a budget of {budget}", hint=f"starc:{BLOCK}",
                             expected=f"at least {BLOCK} positions, as many as are clustered together")
        if first is not None and first < 0:
            raise ModelError("", "--kv-select-from", got=str(first), expected="a layer, counted from 0")
        return Selection(budget=budget, first=FROM if first is None else first)
    ratio, start = float(found[1]), int(found[2] or START)
    if not 0 < ratio < 1:
        raise ModelError("", OPTION, got=f"a ratio of {found[1]}", hint="think:0.4",
                         expected="above 0 and below 1: the share of the keys' channels that is dropped")
    if start < 2 * WINDOW:
        raise ModelError("", OPTION, got=f"a start of {start}", hint=f"think:{found[1]}:{2 * WINDOW}",
                         expected=f"at least {2 * WINDOW} positions, behind which channels are chosen")
    if first is not None:
        raise ModelError("", "--kv-select-from", got=text, expected="--kv-select starc:BUDGET: think drops channels in every layer")
    return Selection(ratio, start)


def with_selection(graph: Graph, selection: Selection, path: Path) -> Graph:
    """The graph whose caches choose. Attention is that of passes/kv_cache.py on the attention unit, keys with a row a position.

    Raises ModelError for a model whose attention leaves positions out already, or has other heads in other layers.
    """
    config = graph.config
    if config.window:
        raise ModelError(path, OPTION, got=f"a model whose attention looks at the last {config.window} positions",
                         expected="one that looks at all of them: the window leaves old keys out already")
    if config.layer_heads:
        raise ModelError(path, OPTION, got="a model whose layers have different numbers of heads",
                         expected="the same in all layers")
    kept = replace(graph, values=dict(graph.values))
    if not selection.budget:
        return check(kept.in_layers(lambda ops, _: [new for op in ops for new in _thinned(kept, op, selection, path)]))
    if selection.first >= config.layers:
        raise ModelError(path, "--kv-select-from", got=str(selection.first), hint="--kv-select-from 0: all layers choose",
                         expected=f"less than the {config.layers} layers of the model")
    kept.bodies = sorted((replace(body, layers=layers) for body in graph.bodies for layers in (
        tuple(layer for layer in body.layers if layer < selection.first),
        tuple(layer for layer in body.layers if layer >= selection.first)) if layers), key=lambda body: body.layers)
    return check(kept.in_layers(lambda ops, layer: ops if layer < selection.first else [
        new for op in ops for new in _clustered(kept, op, selection.budget)]))


# ------------------------------------------------------------------------------------------------ ThinK


def _thinned(graph: Graph, op: Op, selection: Selection, path: Path) -> Iterator[Op]:
    """An operation of attention where old keys lack channels."""
    config, form = graph.config, op.kind.rpartition(".")[2]
    suffix = f".{form}" if form in ("f16", "i8") else ""
    numbers = {"start": selection.start, "window": WINDOW}
    if op.kind.startswith("append") and op.outputs[0] == "keys":
        dropped = int(config.head_dim * selection.ratio)
        if not dropped:
            raise ModelError(path, OPTION, got=f"{selection}, and heads of {config.head_dim} channels",
                             expected=f"a ratio of at least 1 / {config.head_dim}: no channel would be dropped")
        kept = config.head_dim - dropped
        keys = graph.values["keys"]
        graph.values |= {
            "keys": Value(keys.format, (selection.start, config.kv_dim), state=True),
            "q_squares": Value("f32", (config.q_dim,), state=True, behind="keys"),
            "k_squares": Value("f32", (config.kv_dim,), state=True, behind="keys"),
            "channels": Value("index", (config.kv_heads * kept,), state=True, behind="keys"),
            "query_channels": Value("index", (config.heads * kept,), state=True, behind="keys"),
            "old_keys": Value(keys.format, ("positions", config.kv_heads * kept), state=True, behind="keys")}
        if suffix == ".i8":
            graph.values |= {"keys_scales": Value("f32", (selection.start, config.kv_heads), state=True),
                             "old_keys_scales": Value("f32", ("positions", config.kv_heads), state=True, behind="keys")}
        yield replace(op, kind=f"append.ring{suffix}")
    elif op.kind.startswith("scores"):
        q, keys_in = op.inputs[0], op.inputs[1:]
        old = tuple(f"old_{name}" for name in keys_in)
        heads = {"heads": config.heads, "kv_heads": config.kv_heads}
        yield Op("sum.squares", ("q_squares", "k_squares"), (q, "k"), attributes=numbers)
        yield Op("choose.channels", ("channels", "query_channels"), ("q_squares", "k_squares"),
                 attributes={**heads, "start": selection.start})
        yield Op(f"append.kept{suffix}", old, (*keys_in, "channels"), attributes=numbers)
        yield Op(f"scores.parted{suffix}", op.outputs, (q, *keys_in, *old, "query_channels"), attributes={**heads, **numbers})
    else:
        yield op


# ------------------------------------------------------------------------------------------------ STARC


def _clustered(graph: Graph, op: Op, budget: int) -> Iterator[Op]:
    """An operation of attention where it looks at clusters. Keys and values are clustered in front of the scores."""
    config, form = graph.config, op.kind.rpartition(".")[2]
    suffix, heads = f".{form}" if form in ("f16", "i8") else "", {"heads": config.heads, "kv_heads": config.kv_heads, "window": 0}
    scores, shares = "listed_scores", "listed_probabilities"
    if op.kind.startswith("scores"):
        half = "f16" if suffix else "f32"           # every centroid is read for each token: of caches with few bytes, in few bytes
        graph.values |= {
            "centroids": Value(half, ("clusters", config.kv_dim), state=True, behind="keys"),
            "bounds": Value("index", (config.kv_heads, "bounds"), state=True, behind="keys"),
            "centroid_scores": Value("f32", (config.heads, "clusters")), "rows": Value("index", (config.heads, budget)),
            scores: Value("f32", (config.heads, budget)), shares: Value("f32", (config.heads, budget))}
        scales = [f"{name}_scales" for name in ("keys", "values")] if suffix == ".i8" else []
        caches = ("keys", *scales[:1], "values", *scales[1:])
        yield Op(f"cluster{suffix}", (*caches, "centroids", "bounds"), caches, attributes={"kv_heads": config.kv_heads})
        yield Op("scores.centroids" + ".f16" * bool(suffix), ("centroid_scores",), (op.inputs[0], "centroids"), attributes=heads)
        yield Op("choose.rows", ("rows",), ("centroid_scores", "bounds"), attributes={"kv_heads": config.kv_heads})
        yield Op(f"scores.listed{suffix}", (scores,), (*op.inputs, "rows"), attributes=heads)
    elif op.kind.startswith("softmax"):
        yield Op("softmax.listed", (shares,), (scores,))
    elif op.kind.startswith("context"):
        yield Op(f"context.listed{suffix}", op.outputs, (shares, *op.inputs[1:], "rows"), attributes=heads)
    else:
        yield op


def said(graph: Graph) -> str:
    """What the caches of a graph choose, in words; "" if they are whole."""
    if "rows" in graph.values:
        layers = [layer for layer, op in graph.steps() if op.kind == "choose.rows"]
        return (f"starc: {int(graph.values['rows'].shape[1])} positions of each head in "
                f"{title_of([each or 0 for each in layers])}, by clusters of {BLOCK} positions")
    op = next((op for _, op in graph.steps() if op.kind == "choose.channels"), None)
    if op is None:
        return ""
    kept = int(graph.values["channels"].shape[0]) // graph.config.kv_heads
    return (f"think: {kept} of {graph.config.head_dim} channels of keys older than {WINDOW} positions, chosen behind "
            f"{int(op.attributes['start'])} positions")
