"""The pass that cuts prompts: from some layers on, only the blocks of tokens that matter most go on. As SlimInfer does it.

    asked = parse_prune_tokens("10:1024,20:512,30:256")
    graph = cut_prompts(graph, asked.cuts(config, context))

Before each of these layers, blocks of BLOCK tokens are scored with the keys of the layer before and the mean of its last LAST
queries. The first and the last block stay. Of the others the best stay, while all have room in the budget. What is left goes on in
its order, with its positions; the caches of later layers hold nothing else.

Source: SlimInfer, arXiv 2508.06447. The paper's page that could be read says that blocks are pruned layer by layer and scored by
finer units. Sizes of blocks and units, the score, layers and budgets are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from compiler.errors import ModelError, one_of
from compiler.graph import Cut, Graph, LayerBody, Op, Value, check, title_of
from compiler.model.model import Config
from isa.hints import nearest

BLOCK, UNIT, LAST = 64, 16, 32          # tokens of a block, of a unit; queries
LEAST = 2 * BLOCK                       # tokens of a budget: the first and the last block stay
LEAST_NEW = 4                           # tokens behind a prompt: as many as `verify` compares
SHARES = ((5 / 16, 1 / 4), (10 / 16, 1 / 8), (15 / 16, 1 / 16))
"""`sliminfer`: (share of the layers in front of a cut, share of the context that is its budget)."""
NAMED = "sliminfer"
SCORES, ENDS, RANDOM = "scores", "ends", "random"
WAYS = (SCORES, ENDS, RANDOM)
WAITING, PLACES, BLOCK_SCORES, KEPT = "waiting", "places", "scores_of_blocks", "kept"
PROMPT_ENDS = "ends_of_prompts"
"""Where hidden states of last tokens wait, where several texts run side by side: of each text one."""
_SCORED = {"scores": "score.blocks", "scores.f16": "score.blocks.f16", "scores.i8": "score.blocks.i8",
           "scores.rows": "score.blocks", "scores.rows.f16": "score.blocks.f16", "scores.rows.i8": "score.blocks.rows.i8"}
"""The kind of a score of blocks by that of the scores of attention, whose keys have a row for each position."""


@dataclass(frozen=True)
class PruneTokens:
    """What --prune-tokens says. `points`: (layer, budget), rising layers; none: those that SHARES say for a model and a context.

    way   how blocks are chosen, one of WAYS; seed: of a random choice
    new   tokens that come behind the prompt, at most; None: as many as the context has positions
    """

    points: tuple[tuple[int, int], ...] = ()
    way: str = SCORES
    seed: int = 1
    new: int | None = None

    def __str__(self) -> str:
        how = "" if self.way == SCORES else f"{self.way}{self.seed if self.way == RANDOM else ''}@"
        return how + (",".join(f"{layer}:{budget}" for layer, budget in self.points) or NAMED) + (
            f"+{self.new}" if self.new is not None else "")

    def cuts(self, config: Config, context: int) -> tuple[tuple[int, int], ...]:
        """(layer, budget) of each cut that leaves something out of a long prompt. Raises ModelError as `asked` does."""
        points = self.asked(config, context)
        return tuple(point for number, point in enumerate(points) if not number or point[1] < points[number - 1][1])

    def idle(self, config: Config, context: int) -> str:
        """The layers that were asked for and are no cuts, in words: before them no fewer tokens would be left; "" for none."""
        cuts = self.cuts(config, context)
        layers = [layer for layer, budget in self.asked(config, context) if (layer, budget) not in cuts]
        return title_of(layers) if layers else ""

    def asked(self, config: Config, context: int) -> tuple[tuple[int, int], ...]:
        """(layer, budget), as they are said. Raises ModelError for layers that a model does not have, and for budgets with room for
        all of a context."""
        points = self.points or tuple((int(deep * config.layers), max(LEAST, int(share * context))) for deep, share in SHARES)
        layers = [layer for layer, _ in points]
        if not self.points and (config.layers < 4 or len(set(layers)) < len(SHARES) or layers[0] < 1):
            raise ModelError("", "--prune-tokens", got=f"{NAMED}, for a model of {config.layers} layers",
                             expected="at least 4 layers, of which it takes 5, 10 and 15 sixteenths",
                             hint="--prune-tokens LAYER:BUDGET,... names the layers")
        if layers[-1] >= config.layers:
            raise ModelError("", "--prune-tokens", got=f"layer {layers[-1]}",
                             expected=f"layers from 1 to {config.layers - 1}: the model has {config.layers}")
        if points[0][1] >= context:
            raise ModelError("", "--prune-tokens", got=f"a budget of {points[0][1]:,} for a context of {context:,}",
                             expected="less: no prompt would be cut", hint="--context, if the model has more positions")
        return points


def parse_prune_tokens(text: str) -> PruneTokens:
    """`10:1024,20:512`, `sliminfer`, `ends@10:1024`, `random7@sliminfer`, `10:1024+256`. Raises ModelError."""
    before, at, rest = text.rpartition("@")
    rest, plus, behind = rest.partition("+")
    if plus and not (re.fullmatch(r"[0-9]{1,9}", behind, re.ASCII) and int(behind) >= LEAST_NEW):
        raise ModelError("", "--prune-tokens", got=f"+{behind}",
                         expected=f"a number from {LEAST_NEW} to 999,999,999: the tokens that may come behind a prompt")
    found = re.fullmatch(r"([a-z]+)([0-9]{0,9})", before if at else SCORES, re.ASCII)
    way, seed = (found[1], found[2]) if found else (before, "")
    if way not in WAYS or (seed and (way != RANDOM or not int(seed))):
        raise ModelError("", "--prune-tokens", got=f"no choice {before!r}", hint=nearest(way, WAYS),
                         expected=f"{one_of(WAYS)} before the @; behind random a number from 1 on may stand, which draws others")
    points: list[tuple[int, int]] = []
    for part in () if rest == NAMED else rest.split(","):
        pair = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,9})", part.strip(), re.ASCII)
        if not pair:
            raise ModelError("", "--prune-tokens", got=repr(part), hint=f"--prune-tokens {NAMED} needs no numbers",
                             expected="LAYER:BUDGET,..., such as 10:1024,20:512: before layer 10 at most 1,024 tokens are left")
        points.append((int(pair[1]), int(pair[2])))
    for number, (layer, budget) in enumerate(points):
        before_it = points[number - 1] if number else (0, budget)
        if layer <= before_it[0] or budget > before_it[1]:
            raise ModelError("", "--prune-tokens", got=f"{layer}:{budget} behind {before_it[0]}:{before_it[1]}" if number else
                             f"layer {layer}", expected="layers from 1 on that rise, with budgets that do not")
        if budget < LEAST:
            raise ModelError("", "--prune-tokens", got=f"a budget of {budget}",
                             expected=f"at least {LEAST} tokens: the first and the last block of {BLOCK} always stay")
    return PruneTokens(tuple(points), way, int(seed or 1), int(behind) if plus else None)


def cut_prompts(graph: Graph, asked: PruneTokens, points: Sequence[tuple[int, int]], context: int) -> Graph:
    """The graph with these cuts. Raises ModelError for attention that looks at a window of positions."""
    c = graph.config
    if c.window:
        raise ModelError("", "--prune-tokens", got=f"a model whose attention looks at the last {c.window} positions",
                         expected="one that looks at all: a window that jumps over tokens would not be the model's")
    ends = {layer - 1 for layer, _ in points}
    made = replace(graph, values=dict(graph.values), cuts=[])
    blocks = -(-context // BLOCK)
    made.values |= {WAITING: Value("f32", ("positions", c.dim), state=True), PLACES: Value("index", ("positions",), state=True),
                    BLOCK_SCORES: Value("f32", (blocks,)), KEPT: Value("index", (blocks,))}
    bodies = [replace(body, layers=layers, ops=_with_mean(made, body) if layers[0] in ends and asked.way == SCORES else body.ops)
              for body in graph.bodies for layers in (tuple(layer for layer in body.layers if layer not in ends),
                                                      tuple(layer for layer in body.layers if layer in ends)) if layers]
    made.bodies = sorted(bodies, key=lambda body: body.layers)
    for layer, budget in points:
        before = next(body for body in made.bodies if layer - 1 in body.layers)
        made.cuts.append(Cut(layer, budget, [
            _scored(before, asked),
            Op("keep.blocks", (KEPT,), (BLOCK_SCORES,), attributes={"block": BLOCK, "budget": budget}),
            Op("gather.blocks", (WAITING, PLACES), (KEPT,), attributes={"block": BLOCK})], asked.new))
    return check(made)


def _attends(ops: Sequence[Op]) -> Op:
    return next(op for op in ops if op.kind in _SCORED)


def _mean_of(scores: Op) -> str:
    """The name of the mean of the queries that an operation takes."""
    return f"mean_{scores.inputs[0]}"


def _with_mean(graph: Graph, body: LayerBody) -> list[Op]:
    """Operations of layers before a cut: they keep the mean of the last queries."""
    scores = _attends(body.ops)
    graph.values[_mean_of(scores)] = replace(graph.values[scores.inputs[0]], state=True)
    at = body.ops.index(scores)
    return [*body.ops[:at], Op("mean.query", (_mean_of(scores),), (scores.inputs[0],), attributes={"last": LAST}), *body.ops[at:]]


def _scored(body: LayerBody, asked: PruneTokens) -> Op:
    """The scores of blocks, by the keys of a layer before a cut; or an order that looks at nothing."""
    if asked.way != SCORES:
        return Op("score.order", (BLOCK_SCORES,), (), attributes={"seed": asked.seed if asked.way == RANDOM else 0})
    scores = _attends(body.ops)
    keys = scores.inputs[1]
    scales = (f"{keys}_scales",) if scores.kind.endswith("i8") else ()
    heads = {name: scores.attributes[name] for name in ("heads", "kv_heads")}
    return Op(_SCORED[scores.kind], (BLOCK_SCORES,), (_mean_of(scores), keys, *scales),
              attributes={**heads, "block": BLOCK, "unit": UNIT})
