"""`slimulator compile`, and how much memory compiling takes."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT
from random_models import BASE, ArrayTensor, random_model, rope
from tiny_checkpoint import write_relu

from compiler.errors import ModelError
from compiler.frontends import load
from compiler.model.carried_tokenizer import packed, unpacked
from compiler.model.tokenizer import JsonTokenizer, Tokenizer
from emulator.machine import Machine
from isa.preset import load_preset
from isa.program import Program
from isa.services import Host
from slimulator import invoke

VOCAB = 61
ORDER = ("attention_norm", "q", "k", "v", "o", "ffn_norm", "gate", "down", "up")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A llama2.c checkpoint of random weights, and its tokenizer: three special pieces, then letters and signs."""
    model = random_model(replace(BASE, tied=True, rope=rope(12, adjacent=True)))
    c = model.config
    roles = ["embedding", *(f"layers.{layer}.{role}" for role in ORDER for layer in range(c.layers)), "final_norm"]
    body = b"".join(model.tensor(role).rows().tobytes() for role in roles) + bytes(4 * c.context * c.head_dim)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tiny.bin").write_bytes(struct.pack("<7i", c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.vocab, c.context) + body)
    pieces = [b"<unk>", b"<s>", b"</s>", *(bytes([ord(" ") + code]) for code in (0, *range(33, 33 + VOCAB - 4)))]
    (folder / f"tok{VOCAB}.bin").write_bytes(
        struct.pack("<i", 5) + b"".join(struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces))
    return folder / "tiny.bin"


def run(program: Program, machine: str = "slim") -> list[int]:
    host = Host([1])
    runner = Machine(machine, host)
    runner.load(program)
    assert runner.run(2_000_000).reason == "exit"
    return host.tokens


def test_a_checkpoint_becomes_a_program(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = checkpoint.with_name("out.elf")
    assert invoke(["compile", str(checkpoint), "-o", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "llama2.c for machine slim" in printed.err and "\r" not in printed.err
    program = Program.load(output)
    assert (program.meta["model"]["dim"], program.meta["model"]["source"], program.machine.name) == (48, "tiny.bin", "slim")
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["out.elf", "tiny.bin", f"tok{VOCAB}.bin"]
    run(program)


def test_every_flag_does_something(checkpoint: Path, tmp_path: Path) -> None:
    def made(*flags: str) -> Program:
        output = tmp_path / "flag.elf"
        assert invoke(["compile", str(checkpoint), "-o", str(output), *flags]) == 0
        return Program.load(output)

    plain = made()
    assert made("--weights", "t2").meta["model"]["formats"]["q"] == "t2:tensor" != plain.meta["model"]["formats"]["q"]
    recipe = tmp_path / "r.toml"
    recipe.write_text('[roles]\n"layers.*.down" = "i4"\n', encoding="utf-8")
    assert made("--weights", str(recipe)).meta["model"]["formats"] | {"down": "f32"} == plain.meta["model"]["formats"]
    assert made("--context", "9").meta["model"]["context"] == 9
    assert made("--machine", "slim-llama").machine == load_preset("slim-llama")
    other = tmp_path / "other.bin"
    other.write_bytes((checkpoint.parent / f"tok{VOCAB}.bin").read_bytes().replace(b"A", b"\xc3"))
    assert made("--tokenizer", str(other)).meta["tokenizer"] != plain.meta["tokenizer"]


def test_thresholds_are_found_on_a_text(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, output = tmp_path / "text.txt", tmp_path / "thin.elf"
    text.write_text("THE CAT SAT ON THE MAT AND LOOKED", encoding="utf-8")
    assert invoke(["compile", str(checkpoint), "-o", str(output), "--ffn-sparsity", "0.5", "--calibrate", str(text)]) == 0
    runner = Machine("slim", Host([1]))
    runner.load(Program.load(output))
    assert runner.tensor("ffn_sparsity", "f32[1]")[0] == 0.5
    assert runner.run().reason == "exit" and runner.counters["fetch.rows_left"] > 0
    for flags in (["--ffn-sparsity", "0.5"], ["--calibrate", str(text)], ["--ffn-sparsity", "2", "--calibrate", str(text)],
                  ["--ffn-sparsity", "exact", "--calibrate", str(text)]):
        assert invoke(["compile", str(checkpoint), "-o", str(output), *flags]) == 2
    assert "expected exact, or a number from 0 to 0.95" in capsys.readouterr().err


def checkpoint_of(kind: str, checkpoint: Path) -> Path:
    return write_relu(checkpoint.parent) if kind == "relu" else checkpoint


@pytest.mark.parametrize(("kind", "flags"), [
    ("silu", ""), ("silu", "--weights i8"), ("silu", "--weights t2:row --machine slim-llama"), ("silu", "--weights c2 --kv i8"),
    ("silu", "--weights RECIPE"), ("silu", "--weights i8 --machine hpim"), ("relu", "--weights i8 --ffn-sparsity exact --kv i8"),
    ("silu", "--weights t5 --ffn-sparsity 0.5 --calibrate TEXT"),
    ("relu", "--weights t2 --ffn-sparsity exact --machine slim-llama"),
])
def test_s_writes_assembly_that_makes_the_identical_file(kind: str, flags: str, checkpoint: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, metadata and source lines too: what is assembled generates. Other files of the same names play no part."""
    (tmp_path / "text").write_text("a text of more than sixteen letters " * 9, encoding="utf-8")
    (tmp_path / "recipe.toml").write_text('weights = "t2"\n[roles]\n"layers.1.down" = "f16"\n', encoding="utf-8")
    words = flags.replace("TEXT", str(tmp_path / "text")).replace("RECIPE", str(tmp_path / "recipe.toml")).split()
    monkeypatch.chdir(tmp_path)
    for name in ("model.weights", "model.banks", "model.meta"):
        (tmp_path / name).write_text("of somebody else", encoding="utf-8")
    model, source = str(checkpoint_of(kind, checkpoint)), tmp_path / 'a "good" m.s'
    assert invoke(["compile", model, "-o", str(source.with_suffix(".elf")), *words]) == 0
    direct = source.with_suffix(".elf").read_bytes()
    assert invoke(["compile", model, "-S", "-o", str(source), *words]) == 0
    assert invoke(["asm", str(source), "-o", str(source.with_suffix(".elf"))]) == 0
    assert source.with_suffix(".elf").read_bytes() == direct
    assert re.search("# ---- layer0? 0: attention_in = rmsnorm x, layer.attention_norm", source.read_text(encoding="utf-8"))
    assert invoke(["generate", str(source.with_suffix(".elf")), "ab", "-n", "2", "--quiet"]) == 0


@pytest.mark.parametrize(("arguments", "said"), [
    (["MODEL", "--weights", "t3"], "no weight format 't3'; expected f32"),
    (["MODEL", "--weights", "gone.toml"], "gone.toml: error: No such file"),
    (["MODEL", "--machine", "slim-lama"], "did you mean 'slim-llama'"),
    (["MODEL", "--context", "41"], "--context: 41; expected at most the 40"),
    (["MODEL", "--weights", "i8:7"], "48 columns in groups of 7"),
    (["MODEL", "--tokenizer", "MODEL"], "error: "),
    (["MODEL", "-o", "gone/out.elf"], "gone/out.elf: error: the directory to write it to does not exist"),
    (["MODEL", "--ffn-sparsity", "exact"], "a model with silu, whose neurons are never zero; expected one with relu or relu2"),
    (["MODEL", "--ffn-sparsity", "0.5", "--calibrate", "gone.txt"], "gone.txt: error: No such file"),
    (["gone.bin"], "gone.bin: error: No such file or directory")])
def test_one_message_and_no_file(arguments: list[str], said: str, checkpoint: Path, capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert invoke(["compile", *(str(checkpoint) if word == "MODEL" else word for word in arguments)]) == 1
    assert said in capsys.readouterr().err
    assert list(work.iterdir()) == []


def test_a_pattern_of_a_recipe_that_fits_nothing(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt role would silently stay as it was."""
    recipe = tmp_path / "r.toml"
    for pattern, hint in (("layer.*.dwn", "layers.*.down"), ("layers.*.attention_nrm", ""), ("layers.2.q", "layers.*.q"),
                          ("layers.*.attention_norm", "")):
        recipe.write_text(f'[roles]\n"layers.*.q" = "i8"\n"{pattern}" = "i4"\n', encoding="utf-8")
        assert invoke(["compile", str(checkpoint), "-o", str(tmp_path / "x.elf"), "--weights", str(recipe)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"{recipe}: error: roles.{pattern}: matches no matrix of this model; expected a pattern of "
                               "embedding, layers.*.q, "
                               "layers.*.k, layers.*.v, layers.*.o, layers.*.gate, layers.*.down or layers.*.up\n")
        assert hint in said and not (tmp_path / "x.elf").exists()


@pytest.mark.parametrize("name", ["s2", "s.elf", "s.weights", "s.banks"])
def test_a_name_that_assembly_cannot_have(name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["compile", str(checkpoint), "-S", "-o", str(tmp_path / name)]) == 2
    assert f"expected a name like {tmp_path / name.partition('.')[0]}.s, got {tmp_path / name}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_model_is_not_overwritten(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    assert invoke(["compile", str(checkpoint), "-o", str(checkpoint)]) == 2
    assert checkpoint.read_bytes() == before


def test_a_weight_that_is_not_a_number(checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = bytearray(checkpoint.read_bytes())
    data[28 + 4 * 100:28 + 4 * 101] = struct.pack("<f", float("nan"))
    checkpoint.write_bytes(data)
    assert invoke(["compile", str(checkpoint), "-o", str(tmp_path / "x.elf")]) == 1
    assert "tensor embedding: element [2, 4] is nan; expected finite weights" in capsys.readouterr().err
    assert not (tmp_path / "x.elf").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(failure: BaseException, checkpoint: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.elf"
    output.write_bytes(b"what was there before")

    def breaks(self: object, *_: object) -> object:
        yield 1, 2
        raise failure

    monkeypatch.setattr("compiler.placing.weights.WeightLayout.write", breaks)
    assert invoke(["compile", str(checkpoint), "-o", str(output)]) == (130 if isinstance(failure, KeyboardInterrupt) else 1)
    said = capsys.readouterr().err.lstrip()
    assert said in ("interrupted\n", f"{output}: error: No space left on device\n")
    assert output.read_bytes() == b"what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out.elf"]


# ------------------------------------------------------------------------------------------------ tokenizers in programs


def test_a_tokenizer_travels_with_the_program(checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint)
    assert model.tokenizer is not None
    again = unpacked(packed(model.tokenizer), tmp_path / "x.elf")
    for text in ("", "AB", " A  Z"):
        assert again.encode(text) == model.tokenizer.encode(text)
        assert again.decode(again.encode(text)) == text
    with pytest.raises(ModelError, match="character 2"):
        again.encode("A\U0001f600")


def test_every_kind_of_tokenizer_can_be_carried() -> None:
    assert {kind.__name__ for kind in Tokenizer.__subclasses__()} == {"PieceTokenizer", "JsonTokenizer", "SentencePieceTokenizer"}
    with pytest.raises(TypeError, match="none of the tokenizers that can be carried"):
        packed(None)  # type: ignore[arg-type]


def test_a_tokenizer_of_the_library_travels_too(tmp_path: Path) -> None:
    import tokenizers
    from tokenizers import models, pre_tokenizers

    library = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    again = unpacked(packed(JsonTokenizer(tmp_path, library, 2, (2,))), tmp_path)
    assert again.encode("one two one") == [2, 1, 2, 1] and (again.bos, again.size) == (2, 3)


@pytest.mark.parametrize("data", [
    None, {}, {"kind": "words"}, {"kind": "pieces", "pieces": 5}, {"kind": "json", "text": "{", "bos": 1, "before": []}])
def test_a_damaged_tokenizer(data: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer: damaged: .*\nhint: name a tokenizer file"):
        unpacked(data, tmp_path / "x.elf")


# ------------------------------------------------------------------------------------------------ memory

# VmHWM and not getrusage: Linux carries a process's ru_maxrss over exec, so that would be the size of pytest.
_LARGE = """
import sys
sys.path[:0] = {paths!r}
import test_command
test_command.compile_3b(sys.argv[1], layers=2)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class _Endless(ArrayTensor):
    """Weights that are made when they are read: the same thousand values again and again."""

    def _rows(self, first: int, last: int) -> np.ndarray:
        return np.resize(self.values, (last - first, self.matrix[1]))


def compile_3b(path: str, layers: int) -> None:
    """BitNet b1.58 3B's shape, ternary, vocabulary in int8."""
    from compiler.compile import compile_model
    from compiler.formats.recipe import read_recipe
    from compiler.formats.weight_format import WEIGHT_FORMATS
    from compiler.model.model import Model, roles

    config = replace(BASE, vocab=32000, dim=3200, layers=layers, heads=32, kv_heads=32, head_dim=100, hidden=8640, context=2048,
                     rope=rope(100))
    values = np.random.default_rng(0).standard_normal(1009).astype(np.float32)
    tensors = {role: _Endless(role, shape, WEIGHT_FORMATS["f32"], values=values) for role, shape in roles(config)}
    compile_model(Model(Path("3b"), config, tensors), recipe=read_recipe("t2")).save(Path(path))


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Two layers of 3 B parameters' shape, with head and embedding 390 million weights: 1.6 GB as fp32."""
    here = Path(__file__)
    script = _LARGE.format(paths=[str(here.parent), str(here.parents[1] / "support"), str(here.parents[2])])
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "3b.elf")], capture_output=True, text=True, check=False,
                          timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "3b.elf").stat().st_size > 2 * 32000 * 3200 + 2 * 120_000_000 / 4
    assert int(done.stdout) < 400_000           # KiB; the whole model's 26 layers take no more than these two
