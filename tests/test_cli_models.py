"""generate, verify, eval and bench at the prompt: output, files, exit status, every flag, one message for a mistake."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from children import SLIMULATOR, Child
from tiny_checkpoint import CONTEXT, DIM, HIDDEN, LAYERS, write_checkpoint, write_relu

import slimulator
from compiler.measuring import shapes
from compiler.settings import Settings
from isa.caches import PROGRAMS
from isa.preset import PRESETS, load_preset
from isa.program import Program

ROOT = Path(__file__).parents[1]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "programs"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], kept: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process: exit status, stdout, stderr. Programs are kept for this module."""
    monkeypatch.setattr(PROGRAMS, "root", kept.parent)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = slimulator.invoke([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err
    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


def text(command: Command, *arguments: object) -> str:
    status, out, err = command("generate", *arguments, "--quiet")
    assert (status, err) == (0, ""), err
    return out


# ------------------------------------------------------------------------------------------------ generate


def test_generate_prints_text_then_what_it_took(command: Command, tiny: Path) -> None:
    status, out, err = command("generate", tiny, "abc", "-n", 5)
    assert status == 0
    assert out.startswith("abc") and out.endswith("\n") and len(out) >= len("abc") + 5
    assert "5 tokens after a prompt of 5: stopped after 5 tokens (limit set by -n)" in err
    assert "tokens/s" in err and "fast engine, 1 thread" in err and "slim:" in err and "instructions" in err
    for unit in ("vec", "fetch", "sync", "sram", "dram", "flash"):
        assert f"\n  {unit} " in err


def test_quiet_is_the_text_alone(command: Command, tiny: Path) -> None:
    loud = command("generate", tiny, "abc", "-n", 5)[1]
    assert command("generate", tiny, "abc", "-n", 5, "--quiet") == (0, loud, "")


def test_generate_json(command: Command, tiny: Path, tmp_path: Path) -> None:
    status, out, _ = command("generate", tiny, "abc", "-n", 5, "--json", tmp_path / "g.json")
    data = json.loads((tmp_path / "g.json").read_text())
    assert status == 0 and data["text"] == out.removesuffix("\n")
    assert len(data["tokens"]) == 5 == data["counters"]["tokens.emitted"] and data["prompt"][0] == 1
    assert (data["machine"], data["engine"], data["threads"], data["reason"], data["exit_code"]) == ("slim", "fast", 1, "exit", 0)
    assert data["instructions"] == data["counters"]["core.instructions"] and data["neurons"] is None
    assert 0 < data["seconds_to_first_token"] <= data["seconds"] and data["tokens_per_second"] > 0
    assert json.loads(command("generate", tiny, "abc", "-n", 5, "--json", "-", "--quiet")[1])["text"] == data["text"]


def test_every_option_of_sampling_does_something(command: Command, tiny: Path) -> None:
    greedy = text(command, tiny, "a", "-n", 8)
    assert text(command, tiny, "a", "-n", 3) == greedy[:len("a") + 3] + "\n"
    hot = {text(command, tiny, "a", "-n", 8, "--temperature", 3, "--seed", seed) for seed in range(4)}
    assert len(hot) > 1
    assert text(command, tiny, "a", "-n", 8, "--temperature", 3, "--top-p", 1e-6) == greedy


def test_engine_machine_weights_context(command: Command, tiny: Path) -> None:
    greedy = text(command, tiny, "ab", "-n", 4)
    assert text(command, tiny, "ab", "-n", 4, "--engine", "reference") == greedy
    assert text(command, tiny, "ab", "-n", 4, "--machine", "slim-llama") == greedy
    err = command("generate", tiny, "ab", "-n", 4, "--engine", "reference", "--machine", "slim-llama")[2]
    assert "reference engine" in err and "slim-llama:" in err
    assert "lut" in command("generate", tiny, "ab", "-n", 4, "--weights", "t2")[2]
    said = command("generate", tiny, "ab", "-n", 4, "--weights", "i8", "--activations", "f32")[2]
    assert "  weights       i8:row\n" in said and "gemv" not in said and "  lut " not in said
    large, small = (json.loads(command("generate", tiny, "ab", "-n", 4, "--kv", kv, "--json", "-")[1])["counters"]
                    for kv in ("f32", "i8"))
    assert large["tokens.emitted"] == small["tokens.emitted"] and large["dram.bytes_written"] > 2 * small["dram.bytes_written"] > 0
    assert "the context of 8 is full" in command("generate", tiny, "ab", "--context", 8)[2]


def test_threads(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.threads.workers.cores", lambda: 2)
    for name in (("generate", tiny, "ab", "-n", 2), ("verify", tiny, "--prompt", "ab", "--tokens", 2)):
        assert "--threads 8: reduced to 2, the number of cores of this host\n" in command(*name, "--threads", 8)[2]
    data = json.loads(command("generate", tiny, "ab", "-n", 2, "--threads", 8, "--json", "-")[1])
    assert data["threads"] == 2
    assert text(command, tiny, "ab", "-n", 4, "--threads", 1) == text(command, tiny, "ab", "-n", 4)
    assert command("generate", tiny, "ab", "--threads", 2, "--engine", "reference")[0] == 2
    assert command("generate", tiny, "ab", "--threads", 0)[0] == 2


def test_generate_takes_a_program_and_another_tokenizer(command: Command, tiny: Path, kept: Path, tmp_path: Path) -> None:
    expected = text(command, tiny, "abc", "-n", 4)
    program = next(kept.glob("*.elf"))
    for found in kept.glob("*.elf"):
        if json.loads(command("generate", found, "abc", "-n", 4, "--json", "-")[1])["text"] == expected.removesuffix("\n"):
            program = found
    assert text(command, program, "abc", "-n", 4) == expected
    assert command("generate", program, "abc", "--weights", "t2")[0] == 1
    bare = tmp_path / "bare.bin"
    shutil.copy(tiny, bare)
    programs = len([*kept.glob("*.elf")])
    status, out, err = command("generate", bare, "abc")
    assert (status, out, len([*kept.glob("*.elf")])) == (1, "", programs)
    assert err == (f"{bare}: error: tokenizer: none; expected tok31.bin or tokenizer.bin beside it\n"
                   "hint: name one: --tokenizer FILE\n")
    assert text(command, bare, "abc", "-n", 4, "--tokenizer", tiny.with_name("tok31.bin")) == expected


@pytest.mark.parametrize(("arguments", "says"), [
    (["MODEL", "a" * CONTEXT], "prompt: "),
    (["MODEL", "Ä"], "tiny.bin: error: prompt: 'Ä' (U+00C4, character 1) has no token"),
    (["MODEL", "a", "-n", "99"], "-n: 99 tokens; expected at most"),
    (["MODEL", "a", "-n", "0"], "-n: 0; expected 1 or more"),
    (["MODEL", "a", "--temperature", "-2"], "--temperature: -2.0; expected 0"),
    (["MODEL", "a", "--temperature", "inf"], "--temperature: inf"),
    (["MODEL", "a", "--top-p", "1.5"], "--top-p: 1.5; expected above 0"),
    (["MODEL", "a", "--context", "0"], "--context: 0; expected 1 or more"),
    (["MODEL", "a", "--context", "99"], "--context: 99; expected at most the 16"),
    (["MODEL", "a", "--weights", "t3"], "no weight format 't3'"),
    (["MODEL", "a", "--machine", "slim-lama"], "slim-llama"),
    (["MODEL", "a", "--tokenizer", "nowhere.bin"], "nowhere.bin"),
    (["nowhere.bin", "a"], "nowhere.bin: error: No such file or directory; expected a model"),
    (["nowhere.bin", "-n", "5"], "nowhere.bin: error: No such file or directory; expected a model\nhint: "
                                 "if this is the prompt, name the model too"),
    (["a model.gguf"], "a model.gguf: error: No such file or directory"),
    (["models/stories"], "models/stories: error: No such file or directory"),
])
def test_a_mistake_is_one_message(command: Command, tiny: Path, arguments: list[str], says: str) -> None:
    status, out, err = command("generate", *[str(tiny) if word == "MODEL" else word for word in arguments])
    assert (status, out) == (1, "") and says in err
    assert "Traceback" not in err and err.count("error:") == 1


def test_without_a_model_the_demo(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path) -> None:
    from compiler.running import generate
    monkeypatch.setattr(generate, "DEMO", tmp_path / "demo")
    status, _, err = command("generate", "Once upon a time")
    assert status == 1 and f"{tmp_path / 'demo'}: error: the demo model is not there" in err and "config.json" in err
    assert command("generate")[0] == 2
    status, _, err = command("generate", tiny)
    assert status == 2 and "Missing argument 'PROMPT'" in err and str(tiny) in err
    monkeypatch.setattr(generate, "DEMO", tiny)
    assert text(command, "ab", "-n", 3) == text(command, tiny, "ab", "-n", 3)
    assert "'/' (U+002F, character 3) has no token" in command("generate", "a /b")[2]       # no path: it has spaces
    assert text(command, tiny, "a.bin", "-n", 1).startswith("a.bin")                        # as the message about paths says to


def test_ctrl_c_ends_with_the_summary_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference engine takes minutes for a thousand tokens of this."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path)
    monkeypatch.setitem(shapes.SHAPES, "1m", (6, 64, 128, 4, 60))
    path = shapes.compile_random("1m", Settings(weights="t2")).path
    program = slimulator.Program.load(path)
    program.meta["tokenizer"] = {"kind": "pieces", "pieces": ["<s>", *map(chr, range(97, 123))], "scores": [0.0] * 27,
                                 "kinds": [3, *[1] * 26], "bos": 0, "prefix": False}
    program.save(tmp_path / "long.elf")
    with Child(*SLIMULATOR, "generate", tmp_path / "long.elf", "abc", "-n", "1000", "--json", tmp_path / "g.json",
               "--engine", "reference") as child:
        assert child.characters(4).startswith("abc")                # the prompt is shown when the run begins, then a token
        child.interrupt()
        _, err = child.end()
        assert child.status == 130, err
    assert ": interrupted\n" in err and "Traceback" not in err
    data = json.loads((tmp_path / "g.json").read_text())
    assert (data["reason"], data["exit_code"]) == ("interrupted", None)


def test_neurons_that_are_skipped_are_counted(command: Command, tmp_path: Path) -> None:
    """A relu model, exact: the same text, and fewer rows."""
    demo = write_relu(tmp_path)
    dense, sparse = (json.loads(command("generate", demo, "ab", "-n", 4, "--json", "-", *options)[1])
                     for options in ((), ("--ffn-sparsity", "exact")))
    assert dense["text"] == sparse["text"]
    assert dense["neurons"] is None
    neurons, positions = sparse["neurons"], len(sparse["prompt"]) + 4 - 1
    assert neurons["active"] == sparse["counters"]["thr.passes"] and neurons["skipped"] > 0
    assert neurons["active"] + neurons["skipped"] == positions * LAYERS * HIDDEN
    assert neurons["bytes_left"] == sparse["counters"]["fetch.bytes_left"] == neurons["skipped"] * 2 * DIM * 4
    assert neurons["bytes_fetched"] == neurons["active"] * 2 * DIM * 4
    said = command("generate", demo, "ab", "-n", 4, "--ffn-sparsity", "exact")[2]
    assert f"neurons       {neurons['active']:,} active, {neurons['skipped']:,} skipped" in said
    assert command("verify", demo, "--prompt", "ab", "--tokens", 3, "--ffn-sparsity", "exact")[0] == 0


def test_what_was_not_looked_at_is_said_once(command: Command, tmp_path: Path) -> None:
    """On stderr, by each command that reads the checkpoint; by generate when it compiles it."""
    path = write_relu(tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "is_llama_config": True, "transformers.js_config": {"dtype": "q4"}}))
    note = f"{path}: note: ignored options: is_llama_config, transformers.js_config\n"
    (tmp_path / "text").write_text("abc abc abc")
    for arguments, times in ((("compile", path, "-o", tmp_path / "relu.elf"), 1), (("generate", path, "ab", "-n", 1), 1),
                             (("generate", path, "ab", "-n", 1), 0), (("eval", path, tmp_path / "text"), 1),
                             (("verify", path, "--tokens", 2, "--prompt", "ab"), 1)):
        status, out, err = command(*arguments)
        assert (status, (out + err).count("note"), err.count(note)) == (0, times, times), err


def test_a_programs_own_words_do_not_command_a_terminal(command: Command, tiny: Path, tmp_path: Path) -> None:
    assert command("compile", tiny, "-o", tmp_path / "m.elf")[0] == 0
    program = slimulator.Program.load(tmp_path / "m.elf")
    program.meta["model"]["weights"] = "t2\x1b]52;c;aGk=\x07"
    program.save(tmp_path / "m.elf")
    status, _, err = command("generate", tmp_path / "m.elf", "abc", "-n", 2)
    assert status == 0 and "weights       t2" in err and "\x1b" not in err and "\x07" not in err


def test_eval_prints_dense_beside_sparse(command: Command, tmp_path: Path) -> None:
    demo, words = write_relu(tmp_path), tmp_path / "t.txt"
    words.write_text("a cat sat on a mat. a dog ran and ran and ran.", encoding="utf-8")
    exact = json.loads(command("eval", demo, words, "--ffn-sparsity", "exact", "--json", "-")[1])
    assert exact["beside_dense"]["top_1_agreement"] == 1 and exact["beside_dense"]["kl_divergence"] < 1e-9
    plain = json.loads(command("eval", demo, words, "--json", "-")[1])
    assert exact["dense"]["bits_per_byte"] == plain["bits_per_byte"] and plain["neurons"] is None
    flags = ("--ffn-sparsity", 0.8, "--calibrate", words)
    some = json.loads(command("eval", demo, words, *flags, "--json", "-")[1])
    assert some["dense"] == exact["dense"] and some["kl_divergence"] > 1e-6 < some["beside_dense"]["kl_divergence"]
    assert some["neurons"]["active"] < exact["neurons"]["active"]
    table = command("eval", demo, words, *flags)[1].splitlines()
    assert table[1].split() == ["float", "graph", "dense", "program"]
    assert table[2].split() == ["bits", "per", "byte", *(f"{value:.4f}" for value in (
        some["dense"]["bits_per_byte"]["float"], some["dense"]["bits_per_byte"]["program"], some["bits_per_byte"]["program"]))]
    assert table[-3:-1] == ["dense: f32", "program: f32, ffn sparsity 0.8"]
    assert table[-1].startswith(f"neurons: {some['neurons']['active']:,} active, {some['neurons']['skipped']:,} skipped")
    assert json.loads(command("generate", demo, "ab", "-n", 4, *flags, "--json", "-")[1])["neurons"]["skipped"] > 0
    assert command("verify", demo, "--prompt", "ab", "--tokens", 3, *flags)[0] == 0


# ------------------------------------------------------------------------------------------------ verify


def test_verify_prints_a_table(command: Command, tiny: Path, tmp_path: Path) -> None:
    status, out, _ = command("verify", tiny, "--prompt", "a cat", "--tokens", 4, "--weights", "t2", "--dump", tmp_path / "values",
                             "--json", tmp_path / "v.json")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["not", "pass", "pass", "pass"]
    assert "top-1 agreement" in out and "bit-exact" in out and "4 tokens" in out
    data = json.loads((tmp_path / "v.json").read_text())["checks"]
    assert [entry["verdict"] for entry in data] == ["not checked", "pass", "pass", "pass"] and data[2]["operations"] > 100
    assert len(list((tmp_path / "values").glob("t003.*.npy"))) > 20
    assert np.load(next((tmp_path / "values").glob("t000.start.*.x.npy"))).shape == (32,)


def test_verify_fails_for_a_damaged_program(command: Command, tiny: Path, tmp_path: Path) -> None:
    command("generate", tiny, "a", "-n", 1, "--weights", "i8")
    status, out, _ = command("verify", tiny, "--weights", "i8", "--tokens", 3, "--prompt", "ab")
    assert (status, out.count("pass")) == (0, 3)
    from compiler.compile import compile_model
    from compiler.formats.recipe import read_recipe
    from compiler.frontends import load
    compiled = compile_model(load(tiny), recipe=read_recipe("i8"))
    compiled.save(tmp_path / "p.elf")
    data = bytearray((tmp_path / "p.elf").read_bytes())
    weights = next(s for s in slimulator.Program.load(tmp_path / "p.elf").sections if s.name == ".flash.weights")
    offset = getattr(weights.chunks[0], "offset", data.find(weights.bytes()))
    data[offset + compiled.layout.layers_at + compiled.layout.layer["o"].offset] ^= 0x55
    (tmp_path / "p.elf").write_bytes(data)
    status, out, _ = command("verify", tiny, "--weights", "i8", "--tokens", 3, "--prompt", "ab", "--program", tmp_path / "p.elf")
    assert status == 1
    assert "FAIL         program = quantised graph" in out and "layer 0, attention = gemv.i8" in out and "layer.o" in out


@pytest.mark.parametrize("name", ["mine", "slim-llama"])
def test_a_compiled_program_carries_its_machine(command: Command, tiny: Path, tmp_path: Path, name: str) -> None:
    """Also one that has the name of a preset and other figures than it."""
    text = (PRESETS / "slim-llama.toml").read_text(encoding="utf-8").replace('name = "slim-llama"', f'name = "{name}"', 1)
    mine, elf = tmp_path / "mine.toml", tmp_path / "p.elf"
    mine.write_text(text.replace("{ value = 512_000", "{ value = 65_536", 1), encoding="utf-8")
    assert command("compile", tiny, "--machine", mine, "-o", elf)[0] == 0
    here = json.loads(command("generate", elf, "ab", "-n", 4, "--machine", mine, "--json", "-")[1])
    program, preset = Program.load(elf), load_preset(mine)
    assert program.machine == preset != load_preset("slim-llama")
    mine.unlink()
    assert json.loads(command("generate", elf, "ab", "-n", 4, "--json", "-")[1])["time"] == here["time"]
    assert command("verify", elf, "--tokens", 2, "--prompt", "a")[0] == 0
    assert command("generate", elf, "ab", "-n", 4, "--machine", "slim")[0] == 0                 # it has more of everything
    for what in ("generate", elf, "ab"), ("verify", elf, "--tokens", 2, "--prompt", "a"):
        err = command(*what, "--machine", "attacc")[2]
        assert f"{elf}: error: the program needs unit" in err and "sram.ports is attn core instead of " in err, err


def test_verify_of_options(command: Command, tiny: Path) -> None:
    assert "reference" in command("verify", tiny, "--engine", "reference", "--tokens", 2, "--prompt", "a")[1]
    assert command("verify", tiny, "--machine", "slim-llama", "--tokens", 2, "--prompt", "a")[0] == 0
    assert command("verify", tiny, "--context", 8, "--tokens", 2, "--prompt", "a")[0] == 0
    assert command("verify", tiny, "--tokens", 1)[0] == 2
    assert command("verify", tiny, "--prompt", "Ä")[0] == 1


# ------------------------------------------------------------------------------------------------ eval, bench


def test_eval(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a cat sat.<|endoftext|>a dog ran and ran and ran.", encoding="utf-8")
    status, out, _ = command("eval", tiny, tmp_path / "t.txt", "--tokens", 20, "--json", tmp_path / "e.json")
    data = json.loads((tmp_path / "e.json").read_text())
    assert status == 0 and data["tokens"] == 20 and data["documents"] == 2
    assert data["bits_per_byte"]["float"] == pytest.approx(data["bits_per_byte"]["program"], rel=1e-5)
    assert data["top_1_agreement"] == 1 and data["kl_divergence"] < 1e-9
    assert f"{data['bits_per_byte']['float']:.4f}" in out and "top-1 agreement" in out and "KL divergence" in out
    other = json.loads(command("eval", tiny, tmp_path / "t.txt", "--tokens", 20, "--weights", "t2", "--json", "-")[1])
    assert other["bits_per_byte"]["float"] == data["bits_per_byte"]["float"] and other["kl_divergence"] > 1e-3
    reference = json.loads(command("eval", tiny, tmp_path / "t.txt", "--tokens", 20, "--weights", "t2", "--engine", "reference",
                                   "--json", "-")[1])
    assert reference == other
    status, out, _ = command("eval", tiny, tmp_path / "t.txt", "--tokens", 20, "--weights", "t2", "--activations", "f32",
                             "--json", tmp_path / "e.json")
    decoded = json.loads((tmp_path / "e.json").read_text())
    assert status == 0 and "in embedding, activations f32\n" in out and decoded["activations"] == "f32"
    assert decoded["kl_divergence"] != other["kl_divergence"]


def test_eval_says_what_a_token_costs_beside_dense(command: Command, tmp_path: Path) -> None:
    demo, words = write_relu(tmp_path), tmp_path / "t.txt"
    words.write_text("a cat sat on a mat. a dog ran and ran and ran.", encoding="utf-8")
    flags = ("--weights", "i8", "--ffn-sparsity", 0.5, "--predict", "--calibrate", words, "--machine", "slim-nsp")
    status, out, _ = command("eval", demo, words, *flags, "--json", tmp_path / "e.json")
    data = json.loads((tmp_path / "e.json").read_text())
    dense, every, program = data["programs"]
    assert status == 0 and [each["name"] for each in data["programs"]] == ["dense", "whole", "program"]
    assert dense["weights"] == "f32" and every["weights"] == program["weights"] == data["weights"]
    assert every["bits_per_byte"] == data["dense"]["bits_per_byte"] and program["kl_divergence"] == data["kl_divergence"]
    assert dense["beside_first"] is None and every["beside_first"]["kl_divergence"] > 1e-9
    read = [each["cost"]["bytes_read"] for each in data["programs"]]
    assert read[0]["dram"] > 2 * read[1]["dram"] > 2 * read[2]["dram"] and "flash" not in read[1] and read[2]["flash"] > 0
    assert all(each["cost"][name] > 0 for each in data["programs"] for name in ("tokens", "behind", "seconds", "joules"))
    lines = {line[:24].strip(): line[24:].split() for line in out.splitlines()}
    assert lines["dram bytes a token"] == [f"{each['dram']:,.0f}" for each in read]
    assert lines["ms a token"] == [f"{1e3 * each['cost']['seconds']:.4g}" for each in data["programs"]]
    assert lines["mJ a token"] == [f"{1e3 * each['cost']['joules']:.4g}" for each in data["programs"]]
    assert "program: i8:row, ffn sparsity 0.5, predicted by i8\n" in out and "whole: i8:row\n" in out
    left = json.loads(command("eval", demo, words, *flags, "--no-dense", "--json", "-")[1])["programs"]
    assert [each["name"] for each in left] == ["whole", "program"] and left[1]["cost"] == program["cost"]


def test_eval_without_room_for_the_checkpoint_as_it_is(command: Command, tiny: Path, tmp_path: Path) -> None:
    (words := tmp_path / "t.txt").write_text("a cat sat on a mat.", encoding="utf-8")
    text = (PRESETS / "slim-llama.toml").read_text("utf-8").replace('name = "slim-llama"', 'name = "little"')
    (machine := tmp_path / "little.toml").write_text(re.sub(r"(\[region.dram\].*?size += \{ value = )[\d_]+", r"\g<1>DRAM", text,
                                                            count=1, flags=re.DOTALL).replace("DRAM", "40_000"), "utf-8")
    status, out, err = command("eval", tiny, words, "--machine", machine, "--weights", "t2", "--context", 16)
    assert status == 0 and "note: there is no column of the checkpoint as it is: " in err and "vs dense" not in out


def test_eval_of_what_cannot_be(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\xff")
    for arguments, says in (([tiny, tmp_path / "t.txt"], "not UTF-8"), ([tiny, tmp_path / "none.txt"], "No such file")):
        status, out, err = command("eval", *arguments)
        assert (status, out) == (1, "") and says in err


def test_bench_measures_a_shape(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.SHAPES, "1k", (2, 32, 48, 2, 60))
    monkeypatch.setattr(shapes, "CONTEXT", 20000)
    status, out, _ = command("bench", "--shape", "1k", "--seconds", 0.2)
    assert status == 0 and "tokens/s" in out and "time by unit" in out and "gemv.i8" in out
    data = json.loads(command("bench", "--shape", "1k", "--seconds", 0.2, "--weights", "f32", "--json", "-")[1])["shapes"]["1k"]
    assert data["weights"] == "f32" and data["tokens_per_second"] > 10 and data["bandwidth"] > 1e8
    data_t5 = json.loads(command("bench", "--shape", "1k", "--seconds", 0.2, "--weights", "t5", "--json", "-")[1])["shapes"]["1k"]
    assert data_t5["weights"] == "t5:tensor in layers; i8:row in embedding"
    label = command("bench", "--shape", "1k", "--seconds", 0.2, "--weights", "t5")[1]
    assert label.startswith("1k t5:tensor in layers; i8:row in embedding, 1 thread")
    assert data["share_of_bandwidth"] == pytest.approx(data["weight_bytes"] * data["tokens_per_second"] / data["bandwidth"])
    assert data["resident_beyond_weights"] == data["resident_bytes"] - data["weight_bytes"] > 10e6
    assert sum(data["units"].values()) == pytest.approx(1)
    assert sum(o["share"] for o in data["operations"].values()) == pytest.approx(1)
    layer = [o["per_token"] for name, o in data["operations"].items() if name.startswith("op.layer.")]
    assert layer == [2] * len(layer)        # of complete tokens alone
    assert re.search(r"^ +share +each time +per token  operation.*\n +\d+\.\d %  +[\d.]+ us  x +[12]  ", out, re.MULTILINE), out
    status, _, err = command("bench", "--shape", "15n")
    assert status == 1 and "did you mean '15m'?" in err
    status, _, err = command("bench", "nosuch")
    assert status == 2 and "Error: no benchmark 'nosuch'; expected one of assemble, " in err and "hint: to measure a model" in err
    assert "did you mean 'engine'?" in command("bench", "engin")[2]


def test_neurons_are_predicted(command: Command, tmp_path: Path) -> None:
    """From a text to a program whose level `generate` sets; what does not go together is refused."""
    demo, words, program = write_relu(tmp_path), tmp_path / "t.txt", tmp_path / "p.elf"
    words.write_text("a cat sat on a mat. a dog ran and ran.", encoding="utf-8")
    flags = ("--ffn-sparsity", 0.5, "--predict", "--calibrate", words)
    status, _, err = command("compile", demo, "-o", program, *flags, "--predictor", "i4")
    assert status == 0 and "predictor of each layer: i4" in err and "objects of each layer: " in err
    left = [json.loads(command("generate", program, "ab", "-n", 4, "--json", "-", *options)[1])["neurons"]["skipped"]
            for options in (("--ffn-sparsity", 0), (), ("--ffn-sparsity", 0.9))]
    assert left[0] == 0 < left[1] < left[2]
    assert command("verify", demo, "--prompt", "ab", "--tokens", 3, *flags)[0] == 0
    assert "ffn sparsity 0.5, predicted by i8" in command("eval", demo, words, *flags)[1]
    for options, said in ((("--predict",), "--predict: no --ffn-sparsity"), (("--predictor", "t2"), "--predictor goes with"),
                          (("--predict", "--ffn-sparsity", "exact"), "--predict: --ffn-sparsity exact"),
                          (("--predict", "--ffn-sparsity", 0.5), "--calibrate TEXT goes with")):
        status, _, err = command("compile", demo, "-o", program, *options)
        assert status != 0 and said in err
    (plain := tmp_path / "plain.elf").unlink(missing_ok=True)
    assert command("compile", demo, "-o", plain)[0] == 0
    status, _, err = command("generate", plain, "ab", "-n", 1, "--ffn-sparsity", 0.5)
    assert status == 1 and "--ffn-sparsity: a program without thresholds" in err


def test_bench_leaves_neurons_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share that is asked for, of gates that are sums of few weights here; the rest of the program is the dense one."""
    monkeypatch.setitem(shapes.SHAPES, "1k", (2, 256, 512, 4, 60))
    status, out, _ = command("bench", "--shape", "1k", "--seconds", 0.2, "--ffn-sparsity", 0.9)
    assert status == 0 and "ffn sparsity 0.9: " in out
    for wanted in (0.3, 0.9):
        out = command("bench", "--shape", "1k", "--seconds", 0.2, "--ffn-sparsity", wanted, "--json", "-")[1]
        data = json.loads(out)["shapes"]["1k"]
        left = data["neurons"]
        assert left["skipped"] / (left["active"] + left["skipped"]) == pytest.approx(wanted, abs=0.03)
        assert data["sparsity"] == wanted and any("macT.i8.active" in name for name in data["operations"])
    out = command("bench", "--shape", "1k", "--seconds", 0.2, "--ffn-sparsity", 0.75, "--predict", "--json", "-")[1]
    data = json.loads(out)["shapes"]["1k"]
    assert data["predictor"] == "i8" and any("macT.i8.objects" in name for name in data["operations"])
    assert data["neurons"]["skipped"] / (data["neurons"]["active"] + data["neurons"]["skipped"]) == pytest.approx(0.75, abs=0.1)
    assert "neurons" not in json.loads(command("bench", "--shape", "1k", "--seconds", 0.2, "--json", "-")[1])["shapes"]["1k"]
    status, _, err = command("bench", "--shape", "1k", "--ffn-sparsity", "exact")
    assert status == 2 and "--ffn-sparsity" in err


def test_a_prompt_may_be_longer_than_the_name_of_a_file(command: Command) -> None:
    for length in (255, 256, 1500, 5000):
        status, _, err = command("generate", "a " * (length // 2), "-n", 1)
        assert "File name too long" not in err and (status == 0 or "(the context)" in err)
    assert command("generate", "Once upon a time there was a cat. " * 45, "-n", 1, "--quiet")[:1] == (0,)


def test_bench_of_recipes_and_machine_files(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the files say counts, not their names."""
    monkeypatch.setitem(shapes.SHAPES, "1k", (2, 32, 48, 2, 60))
    recipe, machine = tmp_path / "r.toml", tmp_path / "m.toml"
    recipe.write_text('weights = "t2"\nhead = "i8"\n[roles]\n"layers.*.down" = "f16"\n', encoding="utf-8")
    preset = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8").replace('name = "slim"', 'name = "mine"', 1)
    machine.write_text(preset, encoding="utf-8")
    arguments = "bench", "--shape", "1k", "--seconds", 0.2, "--weights", recipe, "--machine", machine, "--json", "-"
    status, out, err = command(*arguments)
    assert status == 0, err
    data = json.loads(out)["shapes"]["1k"]
    assert data["weights"] == "t2:tensor in q, k, v, o, gate, up of layers; f16 bm in down of layers; i8:row in embedding"
    assert data["machine"] == str(machine)
    first = data["weight_bytes"]
    recipe.write_text('weights = "i8"\n', encoding="utf-8")
    assert json.loads(command(*arguments)[1])["shapes"]["1k"]["weight_bytes"] > first
    status, _, err = command("bench", "--shape", "1k", "--weights", tmp_path / "none.toml")
    assert status == 1 and "none.toml: error: No such file" in err
    assert command("bench", "--shape", "1k", "--machine", "slim-lama")[0] == 1


def test_an_empty_prompt_is_one_for_the_demo_model_too(command) -> None:
    """Its only argument is the prompt: "" is no path, though Path("") is the folder one stands in."""
    status, out, err = command("generate", "", "-n", "5", "--quiet")
    assert (status, err) == (0, "")
    assert out.strip()
