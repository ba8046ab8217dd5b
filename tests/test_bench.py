"""bench: the machine's time beside this host's, models from a config.json, and layers that stand for others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.measuring import measure, shapes
from compiler.measuring.on_machine import Stretch, Taken, take
from compiler.settings import Settings
from emulator.machine import Machine
from isa.caches import PROGRAMS
from isa.preset import load_preset
from isa.program import Program
from isa.services import Host

ROOT = Path(__file__).parents[1]
Command = Callable[..., tuple[int, str, str]]

SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 5, "max_position_embeddings": 64, "vocab_size": 96}
LLAMA = {**SIZES, "architectures": ["LlamaForCausalLM"], "intermediate_size": 160, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
         "eos_token_id": 7, "bos_token_id": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama with biases": {**LLAMA, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {**LLAMA, "architectures": ["MistralForCausalLM"], "sliding_window": 8},
    "qwen2": {**LLAMA, "architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "head_dim": 32},
    "bitnet": {**LLAMA, "architectures": ["BitNetForCausalLM"], "hidden_act": "relu2"},
    "opt": {**SIZES, "architectures": ["OPTForCausalLM"], "ffn_dim": 160, "word_embed_proj_dim": 32, "activation_function": "relu"},
    "opt, norms behind": {**SIZES, "architectures": ["OPTForCausalLM"], "ffn_dim": 160, "do_layer_norm_before": False},
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a config.json: one of CONFIGS, with changes."""
    def write(name: str = "llama", **changes: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({key: value for key, value in {**CONFIGS[name], **changes}.items() if value is not ...}),
                        encoding="utf-8")
        return path
    return write


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def small(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape of few weights. Programs are kept for this module."""
    monkeypatch.setitem(shapes.SHAPES, "1k", (3, 32, 48, 2, 60))
    monkeypatch.setattr(PROGRAMS, "root", kept)


def written(command: Command, *arguments: Any) -> dict[str, Any]:
    """The figures of one model."""
    status, out, err = command("bench", *arguments, "--seconds", 0.1, "--json", "-")
    assert status == 0, err
    figures, = json.loads(out)["shapes"].values()
    return dict(figures)


# ------------------------------------------------------------------------------------------------ the machine's time


def test_the_machines_time_is_the_same_each_time(command: Command) -> None:
    of_machine = "prompt_tokens", "depth", "phases", "counters", "time", "energy", "what_if", "by"
    arguments = "--shape", "1k", "--what-if", "lut=2", "--by", "phase"
    one, other = written(command, *arguments), written(command, *arguments, "--threads", 2)
    assert {key: one[key] for key in of_machine} == {key: other[key] for key in of_machine}
    time, tokens = one["time"], one["time"]["tokens"]
    assert tokens == measure.STRETCH == one["counters"]["tokens.emitted"] and one["counters"]["lut.lookups"] > 0
    assert time["seconds_per_token"] == 1 / time["tokens_per_second"] > 0 < time["time_to_first_token"] < time["seconds"]
    assert re.match(r"the \w+( memory| unit|, which executes instructions): \d+\.\d % of the time", time["bottleneck"])
    assert one["energy"]["joules_per_token"] == one["energy"]["joules"] / tokens > 0
    assert sum(part["cycles"] for part in one["by"]["phase"].values()) == time["cycles"]
    assert 0 < one["what_if"]["lut=2"]["cycles"] < time["cycles"]


def test_the_time_is_printed_apart_from_the_hosts(command: Command) -> None:
    arguments = "bench", "--shape", "1k", "--seconds", 0.1, "--prompt", 3, "--tokens", 2
    status, out, _ = command(*arguments, "--by", "operation", "--what-if", "core=2")
    assert status == 0 and re.search(r"^1k .* tokens/s on this host over 128 tokens", out, re.MULTILINE)
    host, machine = out.split("1k on the machine, a prompt of 3, then 2 tokens: the same on every host\n")
    assert machine.startswith("time on slim: ") and "time on slim" not in host and "energy on slim: " in machine
    tokens = r"^  tokens: 2, the first after [\d.]+ us, then [\d.]+ us each: .* tokens/s; .*J a token$"
    assert re.search(tokens, machine, re.MULTILINE)
    assert "  bottleneck: the " in machine and "  what if core=2: " in machine and "by operation: " in machine


def test_without_a_clock_nothing_is_known_and_nothing_is_zero(command: Command, tmp_path: Path) -> None:
    data = written(command, "--shape", "1k", "--no-time")
    assert (data["time"], data["energy"], data["what_if"], data["by"]) == (None, None, {}, None)
    assert data["counters"]["core.instructions"] > 0
    assert "on the machine" not in command("bench", "--shape", "1k", "--seconds", 0.1, "--no-time")[1]
    status, _, err = command("bench", "--shape", "1k", "--no-time", "--what-if", "lut=2")
    assert status == 2 and "--no-time cannot be combined with --what-if" in err
    text = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8")
    text = re.sub(r"^rates\..*\n", "", text[:text.index("[energy]")], flags=re.MULTILINE)
    machine = tmp_path / "untimed.toml"
    machine.write_text(text, encoding="utf-8")
    data = written(command, "--shape", "1k", "--machine", machine)
    assert (data["time"], data["energy"]) == (None, None) and data["counters"] == written(command, "--shape", "1k")["counters"]
    out = command("bench", "--shape", "1k", "--seconds", 0.1, "--machine", machine)[1]
    assert "time and energy: not modelled, machine slim gives no rates\n" in out and "tokens/s on this host" in out


def test_the_host_is_measured_without_a_clock(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = []

    def measured(program: Program, make: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
        clocks.append(make(load_preset("slim"), Host()).clocks)
        return original(program, make, *arguments, **named)

    original = measure.measure
    monkeypatch.setattr(measure, "measure", measured)
    assert written(command, "--shape", "1k", "--tokens", 1)["time"]["tokens_per_second"] is None
    assert clocks == [[]]


def test_a_stretch_that_has_no_room(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    few = "bench", "--shape", "1k", "--context", 8
    with monkeypatch.context() as without:
        without.setattr(measure, "measure", None)                   # it is said before anything is measured
        status, _, err = command("bench", "--shape", "1k", "--what-if", "lute=2")
        assert status == 1 and "--what-if: unknown figure 'lute'" in err
        status, _, err = command(*few, "--prompt", 9)
        assert status == 1 and "error: --prompt: 9; expected at most 8 (the context)" in err
        status, _, err = command(*few, "--depth", 9)
        assert status == 1 and "error: --depth: 9; expected at most 8 (the context)\nhint: --context compiles for more" in err
        status, _, err = command(*few, "--depth", 8, "--prompt", 9)
        assert status == 1 and "error: --prompt: 9; expected at most 8 (the context)" in err
        for option in ("--prompt", "--depth"):
            status, _, err = command(*few, option, 0)
            assert status == 2 and f"Invalid value for '{option}': 0 is not in the range x>=1." in err
        status, _, err = command(*few, "--prompt", 4, "--tokens", 6)
        assert status == 1 and "error: --tokens: 6; expected at most 5: the context has 8 positions, 4 for the prompt" in err
    assert written(command, *few[1:], "--prompt", 4)["time"]["tokens"] == 5


def test_few_tokens_make_no_rate(command: Command) -> None:
    few = "--shape", "1k", "--context", 8, "--depth", 8
    data = written(command, *few)
    assert data["tokens_per_second"] is data["units"] is data["operations"] is None and data["tokens"] == 0
    assert data["prompt_tokens_per_second"] > 0 and data["time"]["tokens"] == 1 and data["instructions_per_token"] > 10
    status, out, _ = command("bench", *few, "--seconds", 0.1)
    assert status == 0 and "too few tokens for a rate on this host behind 8 positions: more need a larger --context" in out
    assert "nan" not in out and "a prompt of 8 tokens: " in out


# ------------------------------------------------------------------------------------------------ prompts and depths


def test_the_prompt_and_decode_at_a_depth(command: Command) -> None:
    """Each of the machine's phases is that of a run that has only this prompt, or only this depth."""
    deep, prompt = (written(command, "--shape", "1k", "--tokens", 4, *more) for more in (("--depth", 20), ("--prompt", 6)))
    both = written(command, "--shape", "1k", "--tokens", 4, "--depth", 20, "--prompt", 6)
    assert [(each["prompt_tokens"], each["depth"]) for each in (deep, prompt, both)] == [(20, 20), (6, 6), (6, 20)]
    assert both["phases"] == {"prefill": prompt["phases"]["prefill"], "decode": deep["phases"]["decode"]}
    for same in ("counters", "time", "energy"):
        assert both[same] == deep[same] != prompt[same], same
    for each in (deep, prompt):
        prefill, decode = each["phases"]["prefill"], each["phases"]["decode"]
        assert (prefill["positions"], decode["positions"]) == (each["prompt_tokens"], 3) and prefill["tokens"] == 1
        assert all(prefill["counters"][name] + decode["counters"][name] == count for name, count in each["counters"].items())
        assert prefill["time"]["cycles"] + decode["time"]["cycles"] == each["time"]["cycles"]
        assert prefill["energy"]["joules"] + decode["energy"]["joules"] == pytest.approx(each["energy"]["joules"], rel=1e-12)
        assert prefill["time"]["tokens_per_second"] == pytest.approx(each["prompt_tokens"] / each["time"]["time_to_first_token"])
    per_token = [sum(each["phases"]["decode"]["counters"][name] for name in ("vec.macs", "attn.macs")) for each in (prompt, deep)]
    assert per_token[0] < per_token[1]                                  # attention over more positions
    whole = written(command, "--shape", "1k", "--tokens", 4)
    assert (whole["prompt_tokens"], whole["depth"], whole["prompt_tokens_per_second"]) == (1, 1, None)
    assert all(each["prompt_tokens_per_second"] > 0 for each in (deep, prompt, both))


def test_prompt_and_depth_are_printed(command: Command) -> None:
    status, out, _ = command("bench", "--shape", "1k", "--seconds", 0.1, "--tokens", 2, "--prompt", 3, "--depth", 5)
    host, machine = out.split("1k on the machine, a prompt of 5, then 2 tokens: the same on every host\n")
    assert status == 0 and "tokens/s on this host over 128 tokens at a time behind 5 positions (" in host
    assert re.search(r"^  a prompt of 3 tokens: [\d,.]+ tokens/s$", host, re.MULTILINE)
    assert re.search(r"^a prompt of 3 on slim: [\d.]+ us, [\d,.]+ tokens/s; [\d.]+ .?J$", machine, re.MULTILINE)


def test_the_host_runs_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts have their tokens and one more, stretches are behind theirs. A round of one token comes twice: the first is cold."""
    made, runs = shapes.compile_random("1k", Settings()), list[tuple[int, int]]()
    original = measure._round

    def noted(machine: Any, tokens: int, seconds: float) -> measure.Round:
        before = machine.counter("tokens.emitted")
        round = original(machine, tokens, seconds)
        runs.append((machine.counter("tokens.read"), machine.counter("tokens.emitted") - before))
        assert len(round.times) == len(round.worked) and round.began < round.times[0] == round.began + round.first
        return round

    monkeypatch.setattr(measure, "_round", noted)
    figures = measure.measure(Program.load(made.path), Machine, 0.01, prompt=7, depth=12)
    (read, emitted), *prompts, shares = runs
    assert read == 12 and measure.WARM + 2 <= emitted <= measure.STRETCH            # fewer on a slow host
    assert len(prompts) >= 2 and set(prompts) == {(7, 1)} and shares == (12, 1)
    assert figures["tokens"] == emitted - 1 - measure.WARM and figures["prompt_tokens_per_second"] > 0


# ------------------------------------------------------------------------------------------------ layers for others


def taken(program: shapes.RandomProgram, machine: str = "slim", by: str | None = None) -> Taken:
    return take(Program.load(program.path), Machine, Stretch(load_preset(machine), 3, 12, program.layers, by=by))


def in_both_ways(settings: Settings, file: Path, layers: int = shapes.FEWEST, by: str | None = None) -> tuple[Taken, Taken]:
    """What all layers take, and what follows from some."""
    machine = settings.machine or "slim"
    whole, part = (shapes.compile_random("", settings, config=file, layers=count) for count in (None, layers))
    assert (whole.executed, part.executed) == (whole.layers, layers) and part.layers == whole.layers > layers
    assert (whole.weight_bytes, whole.bank_bytes, whole.cache_bytes) == (part.weight_bytes, part.bank_bytes, part.cache_bytes)
    return taken(whole, machine, by), taken(part, machine, by)


@pytest.mark.parametrize("name", CONFIGS)
def test_three_layers_say_exactly_what_all_take(name: str, config: Callable[..., Path]) -> None:
    whole, part = in_both_ways(Settings(weights="f16"), config(name))
    assert part.counters == whole.counters
    assert part.cost.as_json() == whole.cost.as_json() and whole.cost.time is not None
    assert all(part.phase(phase) == whole.phase(phase) for phase in ("prefill", "decode"))


@pytest.mark.parametrize(("machine", "weights"), [
    ("slim", "i8"), ("slim", "t2"), ("slim-llama", "t2"), ("slim-llama", "f16"), ("hpim", "i8"), ("hpim", "f16")])
def test_zeros_and_places_of_other_layers_move_little(machine: str, weights: str, config: Callable[..., Path],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of zeros are skipped, which other layers have more or fewer of. Banks are refreshed about once a layer here.

    Nothing stays in the scratchpad in a part, for then layers would not be alike. So it does not in the whole either.
    """
    monkeypatch.setattr(shapes, "compile_model", lambda model, **options: compile_model(model, **options).alike())
    whole, part = in_both_ways(Settings(machine=machine, weights=weights), config())
    by_value = re.compile(r"lut\.(groups_skipped|macs_skipped|lookups|steps|index_toggles)")
    for name, count in whole.counters.items():
        assert part.counters[name] == (pytest.approx(count, rel=0.05) if by_value.match(name) else count), name
    assert part.cost.time is not None and whole.cost.time is not None
    assert part.cost.time.cycles == pytest.approx(whole.cost.time.cycles, rel=2e-2 if machine == "hpim" else 1e-3)


@pytest.mark.parametrize("by", ["operation", "phase"])
@pytest.mark.parametrize("layers", [3, 4])              # three further layers are three times one, or once two and one more
def test_parts_too(by: str, layers: int, config: Callable[..., Path]) -> None:
    whole, part = in_both_ways(Settings(weights="f16"), config(num_hidden_layers=layers + 3), layers, by)
    assert part.counters == whole.counters and part.cost.as_json() == whole.cost.as_json()
    assert whole.breakdown and part.breakdown and part.breakdown.as_json() == whole.breakdown.as_json()
    assert part.cost.time and sum(each.cycles for each in part.breakdown.parts.values()) == part.cost.time.cycles


@pytest.mark.parametrize(("layers", "first"), [(3, 2), (4, 1), (4, 3)])
def test_layers_that_are_left_out_are_of_the_last_kind(layers: int, first: int, config: Callable[..., Path]) -> None:
    """Those below --kv-select-from have other code. In so few positions nothing is clustered, so that values decide nothing."""
    settings = Settings(weights="f16", context=80, kv_select="starc:64", kv_select_from=first)
    whole, part = in_both_ways(settings, config(num_hidden_layers=7, max_position_embeddings=128), layers)
    assert part.counters == whole.counters and part.cost.as_json() == whole.cost.as_json()
    assert all(part.phase(phase) == whole.phase(phase) for phase in ("prefill", "decode"))


def test_a_large_model_runs_three_layers(command: Command, config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = config()
    whole = written(command, "--config", file, "--tokens", 4)
    assert (whole["layers"], whole["layers_executed"]) == (5, 5) and whole["tokens_per_second"] > 0
    monkeypatch.setattr(shapes, "WHOLE", 1000)
    data = written(command, "--config", file, "--tokens", 4)
    assert (data["layers"], data["layers_executed"]) == (5, 3)
    assert data["tokens_per_second"] is data["bandwidth"] is data["units"] is None and data["time"]["tokens_per_second"] > 0
    for same in ("weight_bytes", "bank_bytes", "cache_bytes", "weights"):
        assert data[same] == whole[same], same
    status, out, err = command("bench", "--config", file, "--tokens", 4)
    assert status == 0, err
    assert ": 3 of 5 layers executed\n" in out and "this host: not measured, that needs all layers (--layers 5)\n" in out
    assert ": the same on every host; the 2 layers that are not executed take as much as those that are\n" in out
    assert written(command, "--config", file, "--tokens", 4, "--layers", 5)["layers_executed"] == 5
    assert written(command, "--shape", "1k", "--tokens", 4)["layers_executed"] == 3
    status, _, err = command("bench", "--config", file, "--by", "layer")
    assert status == 2 and "--by layer needs all layers to be executed: --layers 5" in err
    assert written(command, "--config", file, "--tokens", 4, "--ffn-sparsity", 0.5)["counters"]["thr.compares"] > 0


def test_layers_that_say_nothing_of_the_others(command: Command, config: Callable[..., Path], tmp_path: Path) -> None:
    file, recipe = config(), tmp_path / "r.toml"
    for count in (2, 6):
        status, _, err = command("bench", "--config", file, "--layers", count)
        assert status == 1 and f"config.json: error: --layers: {count}; expected 3 to 5, the layers of the model" in err
    config(max_position_embeddings=128)                         # the same file
    status, _, err = command("bench", "--config", file, "--kv-select", "starc:64", "--kv-select-from", 3, "--layers", 3)
    assert status == 1 and "--layers: 3; expected 4 to 5, the layers of the model" in err       # none of three would choose
    recipe.write_text('weights = "i8"\n[roles]\n"layers.1.down" = "f16"\n', encoding="utf-8")
    status, _, err = command("bench", "--config", file, "--weights", recipe, "--layers", 4)
    assert status == 1 and "--layers: 4 of 5 layers, which have different formats; expected all" in err and "hint: a recipe" in err
    status, _, err = command("bench", "--config", file, "--prune", "magnitude:2:4@between", "--layers", 4)
    assert status == 1 and "--layers: 4 of 5 layers, and --prune @between; expected all: the first and the last" in err
    for layers in (1, 2):
        file = config(num_hidden_layers=layers)
        assert written(command, "--config", file, "--layers", layers, "--tokens", 2)["layers_executed"] == layers
    status, _, err = command("bench", "--config", file, "--layers", 1)
    assert status == 1 and "--layers: 1; expected 2, the layers of the model" in err


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("changes", "says"), [
    ({"hidden_size": ...}, "config.json: error: hidden_size: missing; expected a positive whole number"),
    ({"architectures": ["GPT2LMHeadModel"]}, "config.json: error: architectures: ['GPT2LMHeadModel']; expected LlamaForCausalLM, "),
    ({"architectures": ...}, "config.json: error: architectures: missing; expected one of "),
    ({"num_attention_heads": 5}, "config.json: error: num_attention_heads: 5; expected a divisor of hidden_size, 64"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "config.json: error: rope_scaling.rope_type: 'yarn'; expected "),
    ({"num_hidden_layers": 16, "hidden_size": 65536, "intermediate_size": 65536}, "weights and caches take"),
])
def test_a_config_that_makes_no_model(changes: dict[str, Any], says: str, command: Command, config: Callable[..., Path]) -> None:
    status, out, err = command("bench", "--config", config(**changes))
    assert (status, out) == (1, "") and says in err and "Traceback" not in err


def test_a_file_that_is_no_config(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{oops", encoding="utf-8")
    for name, says in (("x.json", "x.json: error: not JSON: "),
                       ("none.json", "none.json: error: No such file or directory; expected the config.json of a model"),
                       ("", "error: Is a directory; expected the config.json of a model")):
        status, out, err = command("bench", "--config", tmp_path / name)
        assert (status, out) == (1, "") and says in err


def test_more_than_this_host_has_room_for(config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = config()
    whole = shapes.compile_random("", Settings(), config=file)
    monkeypatch.setattr(shapes, "free_memory", lambda: 50_000)
    with pytest.raises(ModelError, match=r"memory of this host: 5 layers take [\d,]+ bytes; .* the 50,000 .*\nhint: --layers 3"):
        shapes.compile_random("", Settings(weights="i8"), config=file)
    with pytest.raises(ModelError, match=r"3 layers take .*\nhint: fewer bits take less"):
        shapes.compile_random("", Settings(weights="i8"), config=file, layers=3)
    with pytest.raises(ModelError, match=r"3 layers take .*\nhint: a smaller --config"):
        shapes.compile_random("", Settings(weights="t2", context=64), config=file, layers=3)
    monkeypatch.setattr(shapes, "free_memory", lambda: 0)           # not known
    assert replace(shapes.compile_random("", Settings(), config=file), seconds=None) == replace(whole, seconds=None)
