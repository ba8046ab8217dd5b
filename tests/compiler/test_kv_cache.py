"""Keys and values as fp16 and int8: every operation bit by bit, the cache against its definition, its size, what it costs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from compiled_models import CODES, built, ends, loaded, small_machine
from random_models import SHAPES, random_model

from compiler.checking.evaluate import evaluate, of_graph, of_program, split
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.frontends import load
from compiler.graph import EXACT, PLAIN, Executor, build
from compiler.passes.kv_cache import Attention, with_caches
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.preset import PRESETS
from isa.reference import ReferenceMachine

PROMPT = [1, 5, 7, 7, 60, 3, 8, 9, 10]
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


VEC, ROWS, CHANNELS = Attention(), Attention("attn"), Attention("attn", transposed=True)


SOME = ("gqa", "mqa", "window", "head_dim_6", "opt", "bitnet")          # shapes whose attention differs
CASES = [*product(SHAPES, ["slim", "hpim"], ["f16"]), *product(SHAPES, ["slim", "small", "tiny"], ["i8"]),
         *product(SOME, ["small", "tiny"], ["f16"]), *product(SOME, ["hpim"], ["i8"])]


@pytest.mark.parametrize(("shape", "machine", "kv"), CASES)
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, machine: str, kv: str) -> None:
    name = {"small": small_machine(), "tiny": small_machine(7168)}.get(machine, machine)
    weights = "i8" if machine == "hpim" and shape not in CODES else ""
    compiled, program = built(shape, weights, name, context=12 if machine == "tiny" else None, kv=kv)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    assert compared == (len(PROMPT) * (len(compiled.graph.start) + 2 * len(compiled.graph.layer))
                        + ends(compiled, len(PROMPT)) * len(compiled.graph.finish))
    assert compiled.card["kv"] == kv
    runner, _ = loaded((compiled, program), PROMPT[:3], max_tokens=3, stop=())
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


@pytest.mark.parametrize("machine", ["slim", "small", "hpim"])
@pytest.mark.parametrize("kv", ["f16", "i8"])
def test_on_the_reference_engine(kv: str, machine: str) -> None:
    made = built("gqa", "i8" if machine == "hpim" else "t2", small_machine() if machine == "small" else machine, kv=kv)
    assert compare(*made, PROMPT[:3], ReferenceMachine)[1] is None


@pytest.mark.parametrize("kv", ["f16", "i8"])
def test_the_attention_unit_is_one_instruction_for_all_heads(kv: str) -> None:
    """And that of the vector unit one for each head."""
    def kinds(machine: str) -> set[str]:
        return {op.split(" = ")[1].split()[0] for op in built("gqa", "i8", machine, kv=kv)[0].card["operations"]["layer"]}

    keys = "rows" if kv == "i8" else "attn"
    assert {f"scores.{keys}.{kv}", f"context.attn.{kv}", "softmax.attn"} <= kinds("hpim")
    assert {f"scores.rows.{kv}", f"context.attn.{kv}", "softmax.attn"} <= kinds("slim")
    assert {f"scores.{kv}", f"context.{kv}", "softmax"} <= kinds("slim-llama")
    runner, _ = loaded(built("gqa", "i8", kv=kv), PROMPT, max_tokens=1, stop=())
    runner.run()
    rounds = 2 * len(PROMPT)
    assert runner.counters["attn.scores"] == rounds * 4 * (len(PROMPT) + 1) / 2
    assert runner.counters["attn.ops"] == 1 + rounds * 4                # setm; wrgb, mac, sfm, context


@pytest.mark.parametrize(("old", "new"), [
    ("parameters.heads    = { value = 256", "parameters.heads    = { value = 3"),
    ("parameters.channels = { value = 65_536", "parameters.channels = { value = 47"),
    (', "pim", "attn"], source = "assumed: no unit', ', "pim"], source = "assumed: no unit')])
def test_a_unit_that_cannot_take_all_heads_is_left_alone(tmp_path: Path, old: str, new: str) -> None:
    """4 heads of 12 channels: too many, or too far away. The vector unit attends then."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    assert old in text
    machine = tmp_path / "other.toml"
    machine.write_text(text.replace(old, new).replace('name = "slim"', 'name = "other"'), encoding="utf-8")
    compiled = compile_model(random_model(SHAPES["plain"]), machine=str(machine), kv="f16")
    assert any(op.kind == "scores.f16" for op in compiled.graph.layer)
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:3])[1] is None


@pytest.mark.parametrize("attention", [VEC, ROWS, CHANNELS])
def test_fp16_is_attention_of_rounded_keys_and_values(attention: Attention) -> None:
    """Bit by bit what the fp32 graph makes of keys and values that fp16 can hold."""
    config = replace(SHAPES["gqa"], window=5)
    model = random_model(config)
    halves = Executor(with_caches(build(config), "f16", attention), model, EXACT)
    plain = Executor(build(config), model, EXACT)
    appended = plain._append
    plain._append = lambda layer, name, x: appended(layer, name, x.astype(np.float16).astype(np.float32))     # type: ignore[method-assign]
    for token in PROMPT:
        assert (halves.step(token).view(np.uint32) == plain.step(token).view(np.uint32)).all()
    assert all(cache.dtype == np.uint16 for cache in halves._caches.values())


@pytest.mark.parametrize("attention", [VEC, ROWS])
def test_caches_are_keys_and_values_rounded_by_head(attention: Attention) -> None:
    """In the first layer, which no cache has come before: codes and scales of the fp32 graph's keys, head by head."""
    model = random_model(SHAPES["gqa"])
    rows: dict[str, list[np.ndarray]] = {"k": [], "v": []}

    def look(layer: int | None, op, results) -> None:
        if layer == 0 and op.kind in ("rope", "gemv") and op.outputs[0] in rows:
            rows[op.outputs[0]][plain.position:] = [results[0]]         # of keys the last: rotated

    plain = Executor(build(model.config), model, EXACT, observe=look)
    for token in PROMPT:
        plain.step(token)
    small = Executor(with_caches(build(model.config), "i8", attention), model, EXACT)
    for token in PROMPT:
        small.step(token)
    for x, name in (("k", "keys"), ("v", "values")):
        heads = np.stack(rows[x]).reshape(len(PROMPT), 2, 12)
        largest = np.abs(heads).max(axis=2)
        assert (small._caches[0, f"{name}_scales"][:len(PROMPT)] == largest / np.float32(127)).all()
        codes = small._caches[0, name][:len(PROMPT)].reshape(heads.shape)
        assert codes.dtype == np.int8 and (codes == np.rint(heads * (np.float32(127) / largest)[:, :, None])).all()


@pytest.mark.parametrize("attention", [VEC, ROWS])
def test_attention_is_that_of_the_codes_times_scales(attention: Attention) -> None:
    """The last window positions, heads that share keys: against a float64 computation from the cache's contents. The attention unit
    makes the query int8."""
    config = replace(SHAPES["gqa"], window=5)
    model, seen = random_model(config), {}
    executor = Executor(with_caches(build(config), "i8", attention), model, PLAIN,
                        observe=lambda layer, op, results: seen.update({op.outputs[0]: results[0]}) if layer == 1 else None)
    for token in PROMPT:
        executor.step(token)
    cache = executor._caches
    keys, values = (cache[1, name][:9].reshape(9, 2, 12) * cache[1, f"{name}_scales"][:9, :, None].astype(float)
                    for name in ("keys", "values"))
    q = seen["q"].reshape(4, 12).astype(float)
    if attention == ROWS:
        step = np.abs(q).max(axis=1, keepdims=True) / 127
        q = np.rint(q / step) * step
    for head in range(4):
        scores = keys[-5:, head // 2] @ q[head]
        p = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        np.testing.assert_allclose(seen["context"].reshape(4, 12)[head], p @ values[-5:, head // 2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("machine", ["slim", "hpim"])
def test_an_fp16_cache_takes_half(machine: str) -> None:
    half, whole = (built("plain", "i8", machine, kv=kv)[0] for kv in ("f16", "f32"))
    assert half.memory.cache_bytes * 2 == whole.memory.cache_bytes
    assert "40 positions, in f16" in half.summary()
    runners = [loaded(built("plain", "i8", machine, kv=kv), PROMPT, max_tokens=1, stop=())[0] for kv in ("f16", "f32")]
    for runner in runners:
        assert runner.run().reason == "exit"
    assert runners[0].counters["attn.macs"] == runners[1].counters["attn.macs"] > 0
    region = runners[0].region_name(built("plain", "i8", machine, kv="f16")[1].address("keys"))
    read = [runner.counters[f"{region}.bytes_read"] for runner in runners]
    rows = 2 * 2 * 48 * sum(range(1, len(PROMPT) + 1))                  # keys and values, layers, elements of each position
    assert read[1] - read[0] == (4 - 2) * rows


def test_a_cache_takes_a_quarter_and_scales() -> None:
    small, large = (built("gqa", "", kv=kv)[0] for kv in ("i8", "f32"))
    positions, layers, kv_dim, kv_heads = 40, 2, 24, 2

    def size(each) -> int:
        return layers * sum(each.memory.layer_bytes.values())

    assert size(large) == 2 * layers * positions * kv_dim * 4
    assert size(small) == 2 * layers * positions * (kv_dim + 4 * kv_heads)
    assert "40 positions, in i8" in small.summary() and "in f32" in large.summary()
    runners = [loaded(built("gqa", "", kv=kv), PROMPT, max_tokens=1, stop=())[0] for kv in ("i8", "f32")]
    for runner in runners:
        assert runner.run().reason == "exit"
    assert runners[0].counters["attn.macs"] == runners[1].counters["attn.macs"]         # the same products,
    assert runners[0].counters["dram.bytes_read"] < runners[1].counters["dram.bytes_read"] / 2        # of fewer bytes


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ModelError, match=r"--kv: 'i4'; expected f32, f16 or i8"):
        compile_model(random_model(SHAPES["plain"]), kv="i4")


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
def test_stories260k_loses_little(tmp_path: Path) -> None:
    model = load(DATA / "stories260K" / "stories260K.bin")
    assert model.tokenizer is not None
    text = (DATA / "tinystories" / "valid.txt").read_text(encoding="utf-8")[:4000]
    documents = split(text, model.tokenizer, 512, 400)
    program = compile_model(model, kv="i8").build(tmp_path)
    runner = Machine("slim")
    runner.load(program)
    scores = evaluate(documents, of_graph(Executor(build(model.config), model)), of_program(runner, program))
    before, after = scores.bits_per_byte
    assert abs(after - before) < 0.003 * before and scores.agreement > 0.97 and 1e-6 < scores.kl < 0.005
