"""The float graph: its table, its rules, what the executor does at the edges, and the machine's arithmetic beside the plain one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import llama_files as made
import numpy as np
import pytest
from random_models import random_model

from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.graph import EXACT, KINDS, PLAIN, Executor, Graph, GraphError, Op, build, check, role_of
from compiler.graph.checks import CHECKS
from compiler.model.model import Config, Rope, roles
from compiler.model.tensors import Codes
from compiler.passes.activation_parts import PARTS, with_parts
from compiler.passes.dataflow import by_head
from compiler.passes.kv_cache import KV_FORMATS, Attention, with_caches
from compiler.passes.prune_tokens import cut_prompts, parse_prune_tokens
from compiler.passes.quantise import quantise
from compiler.passes.reuse import reuse_outputs
from compiler.passes.select import parse_select, with_selection
from compiler.passes.sparse_weights import in_macros
from compiler.targets.banks import Banks
from isa.preset import load_preset
from isa.sparse import Bitmask

C = Config("test", vocab=50, dim=16, layers=3, heads=4, kv_heads=2, head_dim=4, hidden=24, context=8, eps=1e-5,
           rope=Rope((1.0, 0.5), adjacent=True))
OPT = replace(C, norm="layernorm", rope=None, kv_heads=4, activation="relu", gated=False, learned_positions=2, tied=True,
              biases=frozenset(("q", "k", "v", "o", "up", "down")))
BITNET = replace(C, activation="relu2", sub_norms=True, int8_activations=True)

TABLE = """\
test: 3 layers, dim 16, 4 heads of 4, 2 of keys and values, hidden 24, vocabulary 50, context 8
start
  embedding  x              f32[16]            token, embedding[50, 16]
layer, 3 times
  rmsnorm    attention_in   f32[16]            x, layer.attention_norm[16]    eps 1e-05
  gemv       q              f32[16]            attention_in, layer.q[16, 16]
  gemv       k              f32[8]             attention_in, layer.k[8, 16]
  gemv       v              f32[8]             attention_in, layer.v[8, 16]
  rope       q              f32[16]            q                              head_dim 4, adjacent 1
  rope       k              f32[8]             k                              head_dim 4, adjacent 1
  append     keys           f32[positions, 8]  k
  append     values         f32[positions, 8]  v
  scale      q              f32[16]            q                              factor 0.5
  scores     scores         f32[4, positions]  q, keys                        heads 4, kv_heads 2
  softmax    probabilities  f32[4, positions]  scores
  context    context        f32[16]            probabilities, values          heads 4, kv_heads 2
  gemv       attention      f32[16]            context, layer.o[16, 16]
  add        x              f32[16]            x, attention
  rmsnorm    ffn_in         f32[16]            x, layer.ffn_norm[16]          eps 1e-05
  gemv       gate           f32[24]            ffn_in, layer.gate[24, 16]
  gemv       up             f32[24]            ffn_in, layer.up[24, 16]
  silu       gate           f32[24]            gate
  mul        neurons        f32[24]            gate, up
  gemv       ffn            f32[16]            neurons, layer.down[16, 24]
  add        x              f32[16]            x, ffn
finish
  rmsnorm    final          f32[16]            x, final_norm[16]              eps 1e-05
  gemv       logits         f32[50]            final, head[50, 16]"""


def test_table() -> None:
    assert str(build(C)) == TABLE


def test_every_weight_of_a_model_is_used_once() -> None:
    """The graph and the roles are of the same model: no tensor that nothing reads, none that is read and not there."""
    variants = (C, OPT, BITNET, replace(C, qk_norm=True, tied=True),
                replace(OPT, norm_first=False, final_norm=False, embedding_dim=8))
    for config in variants:
        read = [role_of(role, layer) for layer, op in build(config).steps() for role in op.weights]
        listed = [role for role, _ in roles(config)] + (["head"] if config.tied else [])
        assert sorted(read) == sorted(listed)


def test_kinds_are_all_made_by_some_model() -> None:
    used = {op.kind for config in (C, OPT, BITNET, replace(C, activation="gelu")) for _, op in build(config).steps()}
    ways = (Attention(), Attention("attn"), Attention("attn", transposed=True))
    cache = {op.kind for kv in KV_FORMATS for way in ways if (kv, way.transposed) != ("i8", True)
             for _, op in with_caches(build(C), kv, way).steps()}
    banks = {op.kind for weights in ("i8", "f16") for _, op in _in_banks(weights).steps()}
    sparse = {"active", "active.above", "gemv.active", "gemv.i8.active", "macT.active", "macT.i8.active",      # by sparsify.py
              "active.over", "bias.listed", "spread", "pick", *(kind for kind in KINDS if ".objects" in kind)}     # by predict.py
    decoded = {op.kind for _, op in quantise(random_model(C), read_recipe("i4"), "f32")[1].steps()}
    zeros = {op.kind for weights in ("i8", "f16")
             for _, op in quantise(random_model(C), read_recipe(weights), None, lambda _role, _tensor: Bitmask(1))[1].steps()}
    model, graph = quantise(random_model(C), read_recipe("i8"))
    macros = {op.kind for _, op in in_macros(graph, model.tensors).steps()}
    binary = quantise(random_model(C), read_recipe("b1"))
    asked = [parse_prune_tokens(f"{way}1:128") for way in ("", "ends@")]
    cut = {op.kind for kv in KV_FORMATS for unit in ("vec", "attn") for way in asked for _, ops in cut_prompts(
        with_caches(build(C), kv, Attention(unit)), way, way.points, C.context).named() for op in ops}
    narrow = {op.kind for asked in PARTS for _, op in with_parts(
        quantise(random_model(C), read_recipe("i8"))[1], model, load_preset("slim"), asked).steps()}
    centres = {op.kind for _, op in reuse_outputs(*binary, 64, load_preset("slim"))[1].steps()}
    selections = parse_select("think:0.5"), parse_select("starc:64", 0)
    chosen = {op.kind for kv in KV_FORMATS for select in selections for _, op in with_selection(
        with_caches(build(C), kv, Attention("attn")), select, Path("m")).steps()}
    heads = {op.kind for each in (build(C), quantise(random_model(C), read_recipe("t2"))[1])
             for _, op in by_head(with_caches(each, "f32", Attention()), "").steps()}
    assert used | cache | banks | decoded | zeros | macros | centres | chosen | heads | cut | narrow == set(KINDS) - sparse


def _in_banks(weights: str) -> Graph:
    model, graph = quantise(random_model(C), read_recipe(weights))
    return Banks(load_preset("hpim"), model, graph, int8=True).graph


# ------------------------------------------------------------------------------------------------ rules


def _change(place: str, which: str, **changes: object) -> Callable[[Graph], None]:
    """Replace fields of the first operation of a kind in a list of a graph."""
    def change(graph: Graph) -> None:
        ops = getattr(graph, place)
        at = next(at for at, op in enumerate(ops) if op.kind == which)
        ops[at] = replace(ops[at], **changes)   # type: ignore[arg-type]
    return change


def _attribute(kind: str, name: str, value: float, place: str = "layer") -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        op = next(op for op in getattr(graph, place) if op.kind == kind)
        _change(place, kind, attributes={**op.attributes, name: value})(graph)
    return change


def _shape(name: str, *shape: int | str) -> Callable[[Graph], None]:
    return lambda graph: graph.values.update({name: replace(graph.values[name], shape=shape)})


def _forget_rope(graph: Graph) -> None:
    graph.config = replace(graph.config, rope=None)


def _finish_with(op: Op) -> Callable[[Graph], None]:
    return lambda graph: graph.finish.append(op)


WRONG: list[tuple[Callable[[Graph], None], str]] = [
    (_attribute("embedding", "offset", -1, "start"),         "start, 0: embedding -> x: the offset -1 is negative"),
    (_attribute("rmsnorm", "eps", 0),                        "eps is 0: expected a positive number"),
    (_change("layer", "rmsnorm", inputs=("v",)),             "v is read before it is written"),
    (_change("finish", "rmsnorm", weights=("layer.gate",)),  "layer.gate has shape [24, 16], expected [size]"),
    (_forget_rope,                                           "the model has no rotary positions"),
    (_attribute("rope", "head_dim", 3),                      "a head of 3 elements has no whole pairs"),
    (_attribute("rope", "head_dim", 6),                      "16 elements are not whole heads of 6"),
    (_attribute("scores", "kv_heads", 3),                    "3 heads of keys do not divide 4 heads"),
    (_attribute("scores", "heads", 6),                       "16 elements are not 6 heads"),
    (_attribute("scores", "kv_heads", 4),                    "heads of queries and of keys differ in size"),
    (_attribute("scores", "window", -1),                     "the window -1 is negative"),
    (_attribute("context", "kv_heads", 3),                   "3 heads of values do not divide 4 heads"),
    (_attribute("context", "kv_heads", 4),                   "the result is not 4 heads of the values' size"),
    (_shape("logits", 49),                                   "head has shape [50, 16], but rows is"),
    (_shape("q", 15),                                        "layer.q has shape [16, 16], but rows is 15 in W[rows, cols]"),
    (_change("layer", "mul", kind="multiply"),               "unknown kind; known are embedding, rmsnorm"),
    (_change("layer", "mul", inputs=("gate",)),              "1 inputs, expected 2"),
    (_change("layer", "mul", inputs=("gate", "gates")),      "gates has no declared shape"),
    (_change("layer", "gemv", weights=("layer.query",)),     "there is no weight layer.query"),
    (_change("layer", "scale", attributes={}),               "attributes [], expected ['factor']"),
    (_change("finish", "gemv", outputs=("final",)),          "nothing writes logits"),
    (_finish_with(Op("relu", ("final",), ("token",))),       "token is index, expected f32"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_broken_graph_is_refused(change: Callable[[Graph], None], message: str) -> None:
    graph = build(C)
    change(graph)
    with pytest.raises(GraphError) as error:
        check(graph)
    assert message in str(error.value)


def test_every_rule_has_been_broken() -> None:
    """Each row of CHECKS is what refuses some graph here or below."""
    messages: set[str] = set()
    cases = [(build(C), change) for change, _ in WRONG]
    cases += [(build(OPT), _attribute("layernorm", "eps", -1)),
              (build(replace(C, qk_norm=True)), lambda g: g.weights.update({"layer.q_norm": (5,)})),
              (with_caches(build(C), "i8", Attention()), _attribute("quantise.heads", "kv_heads", 3)),
              (with_caches(build(C), "i8", Attention()), _attribute("scale.heads", "kv_heads", 3)),
              (with_caches(build(C), "i8", Attention("attn")), _attribute("append.rows.i8", "kv_heads", 3)),
              (_in_banks("i8"), _attribute("quantise.banks", "size", 8)),
              (_in_banks("i8"), _attribute("gemv.banks.i8", "tile", 1)),
              (_in_banks("f16"), _attribute("gemv.banks.f16", "tile", 99)),
              (_in_banks("f16"), _attribute("gemv.banks.f16", "height", 65)),
              (_in_banks("f16"), _attribute("collect.f16", "height", 1))]
    for graph, change in cases:
        change(graph)
        with pytest.raises(GraphError) as error:
            check(graph)
        messages |= {line.split(": ", 2)[2] for line in str(error.value).splitlines() if line.count(": ") >= 2}
    for kind, _, message in CHECKS:
        start = message.split("{")[0]
        end = message.rsplit("}")[-1]
        assert any(text.startswith(start) and text.endswith(end) for text in messages), (kind, message)


# ------------------------------------------------------------------------------------------------ executor


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(made.llama2c_v0(made.weights()))
    return path


def test_beyond_the_context_and_the_vocabulary(model: Path) -> None:
    loaded = load(model)
    executor = Executor(build(loaded.config), loaded)
    with pytest.raises(ModelError, match="token: 300; expected 0 to 299"):
        executor.step(300)
    for token in range(made.CONTEXT):
        executor.step(token)
    with pytest.raises(ModelError, match="more than 16 tokens"):
        executor.step(1)


def test_observer_sees_every_operation(model: Path) -> None:
    loaded = load(model)
    seen: list[tuple[int | None, str]] = []
    graph = build(loaded.config)
    executor = Executor(graph, loaded, observe=lambda layer, op, results: seen.append((layer, op.kind)))
    executor.step(3)
    assert seen == [(layer, op.kind) for layer, op in graph.steps()]


def test_the_machines_arithmetic_is_near_the_plain_one_but_its_own(model: Path) -> None:
    loaded = load(model)
    logits = [[Executor(build(loaded.config), loaded, arithmetic)] for arithmetic in (PLAIN, EXACT)]
    plain, exact = (np.stack([executor.step(token) for token in (1, 9, 200, 9)]) for executor, in logits)
    assert np.abs(plain - exact).max() < 1e-5 * np.abs(plain).max()
    assert not np.array_equal(plain, exact)


def test_exact_gemv_sums_in_sixteen_lanes() -> None:
    generator = np.random.default_rng(1)
    W, x = generator.normal(size=(3, 37)).astype(np.float32), generator.normal(size=37).astype(np.float32)
    for row, result in zip(W, EXACT.gemv(W, x), strict=True):
        lanes = [np.float32(0)] * 16
        for i, (weight, value) in enumerate(zip(row, x, strict=True)):
            lanes[i % 16] = np.float32(lanes[i % 16] + np.float32(weight * value))
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [np.float32(lanes[j] + lanes[j + half]) for j in range(half)]
        assert lanes[0] == result


def test_codes_are_summed_exactly() -> None:
    """Integer sums by group, converted; plain: scaled and added in rising order, exact: by both scales, through lanes."""
    generator = np.random.default_rng(2)
    values, x = generator.integers(-1, 2, (4, 96), np.int8), generator.integers(-127, 128, 96, np.int8)
    scales, scale = generator.normal(size=(4, 3)).astype(np.float32), np.array([0.3], np.float32)
    codes = Codes(values, scales, 32)
    for row, (plain, lanes) in enumerate(zip(PLAIN.gemv_codes(codes, x, scale), EXACT.gemv_codes(codes, x, scale), strict=True)):
        whole = [np.float32(sum(int(values[row, c]) * int(x[c]) for c in range(32 * group, 32 * group + 32))) for group in range(3)]
        total = np.float32(0)
        for group in range(3):
            total = np.float32(total + np.float32(whole[group] * scales[row, group]))
        assert plain == np.float32(total * scale[0])
        a, b, c = (np.float32(whole[group] * np.float32(scales[row, group] * scale[0])) for group in range(3))
        assert lanes == np.float32(np.float32(a + c) + b)           # 16 lanes, folded in halves
