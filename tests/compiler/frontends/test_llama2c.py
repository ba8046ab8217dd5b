"""llama2.c files: the golden text of a real model, all three versions of one random model, and what is refused."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

import llama_files as made
import numpy as np
import pytest
from children import LIMIT

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends import llama2c, load, need_tokenizer
from compiler.graph import EXACT, PLAIN, Arithmetic, Executor, build
from compiler.model.model import Model
from compiler.model.tensors import FileRange, GroupTensor

STORIES = Path(__file__).parents[4] / "shared/data/stories260K"
needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="the real model is not here")


def logits(model: Model, tokens: tuple[int, ...] = (1, 40, 299, 7, 7)) -> np.ndarray:
    executor = Executor(build(model.config), model)
    return np.stack([executor.step(token) for token in tokens])


@needs_stories
@pytest.mark.parametrize("arithmetic", [PLAIN, EXACT], ids=["plain", "exact"])
def test_golden_text(arithmetic: Arithmetic) -> None:
    """What llama2.c prints at temperature 0 without a prompt, 200 steps."""
    model = load(STORIES / "stories260K.bin")
    tokenizer = need_tokenizer(model)
    executor, tokens = Executor(build(model.config), model, arithmetic), tokenizer.encode("")
    stream = tokenizer.stream()
    text = stream.push(tokens[0])
    for _ in range(200):
        tokens.append(int(executor.step(tokens[-1]).argmax()))
        text += stream.push(tokens[-1])
    assert text + stream.end() + "\n" == (STORIES / "greedy_200.txt").read_text()


@needs_stories
def test_real_tokenizer() -> None:
    """Tokens that llama2.c gives, and every text comes back: those without a piece as bytes."""
    tokenizer = need_tokenizer(load(STORIES / "stories260K.bin"))
    assert tokenizer.encode("Once upon a time") == [1, 403, 407, 261, 378]
    for text in ("Once upon a time", " two  spaces ", "naïve 🦊 fox\n", "<s>", "\x00", "a" * 500):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("tied", [False, True])
def test_versions_0_and_1_are_the_same_model(tied: bool, tmp_path: Path) -> None:
    weights = made.weights(tied=tied)
    for name, data in (("v0", made.llama2c_v0(weights)), ("v1", made.llama2c_v1(weights))):
        (tmp_path / name).write_bytes(data)
    models = [load(tmp_path / name) for name in ("v0", "v1")]
    for model in models:
        assert model.config.tied == tied
        for role, array in weights.items():
            assert np.array_equal(model.tensor(role).rows().reshape(array.shape), array)
    assert np.array_equal(logits(models[0]), logits(models[1]))


def test_version_2_keeps_codes_and_scales(tmp_path: Path) -> None:
    weights = made.weights()
    (tmp_path / "model.bin").write_bytes(made.llama2c_v2(weights, 16))
    model = load(tmp_path / "model.bin")
    for role, array in weights.items():
        tensor = model.tensor(role)
        assert np.array_equal(tensor.rows().reshape(array.shape), array)
        if array.ndim == 2:
            codes = tensor.codes()
            assert codes.group == 16 and codes.values.dtype == np.int8 and codes.scales.shape == (len(array), array.shape[1] // 16)
            assert np.array_equal(tensor.codes(3, 5).floats(), array[3:5])
    (tmp_path / "floats.bin").write_bytes(made.llama2c_v1(weights))
    assert np.array_equal(logits(model), logits(load(tmp_path / "floats.bin")))


@pytest.mark.parametrize("group", [32, 64, 128])
def test_groups_that_go_on_in_the_next_row(group: int, tmp_path: Path) -> None:
    """As export.py writes them where dim is a multiple of the group and hidden, 48, is not; and where neither is."""
    weights = made.weights()
    (tmp_path / "model.bin").write_bytes(made.llama2c_v2(weights, group))
    model = load(tmp_path / "model.bin")
    for role, array in weights.items():
        tensor = model.tensor(role)
        assert np.array_equal(tensor.rows().reshape(array.shape), array)
        if array.ndim == 2:
            codes = tensor.codes()
            assert codes.group == math.gcd(array.shape[1], group)
            assert codes.scales.shape == (len(array), array.shape[1] // codes.group)
            for first, last in ((0, 1), (3, 5), (7, 8), (len(array) - 1, len(array))):
                assert np.array_equal(tensor.codes(first, last).floats(), array[first:last])
    (tmp_path / "floats.bin").write_bytes(made.llama2c_v1(weights))
    assert np.array_equal(logits(model), logits(load(tmp_path / "floats.bin")))
    compiled = compile_model(model)
    assert compiled.layout.layer["down"].scale_group == 16
    assert compare(compiled, compiled.build(tmp_path), [1, 40, 7])[1] is None


@pytest.mark.parametrize(("rows", "cols", "group"), [(4, 1376, 64), (6, 172, 8), (5, 7, 35), (9, 10, 6), (3, 16, 48), (1, 12, 4)])
def test_every_value_has_its_own_groups_scale(rows: int, cols: int, group: int, tmp_path: Path) -> None:
    """stories42M has 1376 columns in groups of 64. Scales as many as groups, each another."""
    codes = np.random.default_rng(rows).integers(-127, 128, rows * cols).astype(np.int8)
    scales = np.arange(1, rows * cols // group + 1, dtype=np.float32)
    (tmp_path / "file").write_bytes(codes.tobytes() + scales.tobytes())
    where = [FileRange(tmp_path / "file", 0, codes.size), FileRange(tmp_path / "file", codes.size, scales.nbytes)]
    tensor = GroupTensor("W", (rows, cols), WEIGHT_FORMATS["i8"], math.gcd(cols, group), values=where[0], scales=where[1],
                         scaled=group)
    expected = np.array([codes[i] * scales[i // group] for i in range(codes.size)], np.float32).reshape(rows, cols)
    for first in range(rows):
        for last in range(first + 1, rows + 1):
            assert np.array_equal(tensor.rows(first, last), expected[first:last])


# ------------------------------------------------------------------------------------------------ what is refused


def _number(data: bytes, index: int, value: int, start: int = 0) -> bytes:
    at = start + 4 * index
    return data[:at] + struct.pack("<i", value) + data[at + 4:]


V0, V1, V2 = (make(made.weights()) for make in (made.llama2c_v0, made.llama2c_v1, lambda weights: made.llama2c_v2(weights, 16)))

TIED = made.llama2c_v0(made.weights(tied=True))

BAD = [
    (b"",                                       r"error: 0 bytes; expected at least the 28 bytes"),
    (V0[:27],                                   r"error: 27 bytes; expected at least the 28 bytes"),
    (V0[:-1], rf"error: {len(V0) - 1} bytes; expected the {len(V0)} bytes .*\nhint: the file is truncated"),
    (V0 + b"\0",                                rf"error: {len(V0) + 1} bytes; expected the {len(V0)} bytes"),
    (V1[:200],                                  r"error: 200 bytes; expected at least the 256 bytes of its header"),
    (V1[:-4],                                   r"hint: the file is truncated"),
    (V1[:4] + b"\3\0\0\0" + V1[8:],             r"version: 3; expected 1 or 2"),
    (V2[:-4],                                   r"hint: the file is truncated"),
    (V2[:37] + struct.pack("<i", 0) + V2[41:],  r"group_size: 0; expected a positive size"),
    (V2[:37] + struct.pack("<i", 7) + V2[41:],  r"group_size: 7; expected a divisor of \d+, the elements of "),
    (_number(V0, 5, made.VOCAB),                r"hint: is there a head of its own\? Then vocab_size is negative"),
    (_number(TIED, 5, -made.VOCAB),             r"hint: is the head the embedding\? vocab_size is negative says that it is not"),
    (V1[:36] + b"\1" + V1[37:],                 r"hint: is there a head of its own\? Then shared_classifier is 0"),
    (b"\x7fELF" + V0[4:],                       r"a file that begins 7f 45 4c 46 .*; expected a llama2.c checkpoint"),
    (_number(V0, 0, 30),                        r"n_heads: 4; expected a divisor of dim, 30"),
    (_number(V0, 3, -4),                        r"n_heads: -4; expected a divisor of dim, 32"),
    (_number(V0, 4, 3),                         r"n_kv_heads: 3; expected a divisor of the 4 heads"),
    (_number(V0, 2, -1),                        r"n_layers: -1; expected a positive size"),
    (_number(_number(V0, 0, 1 << 22), 3, 1),    r"dim / n_heads: 4194304; expected the size of a head, 1 to 65536"),
    (_number(V0, 2, 4096),                      r"hint: the file is truncated"),
    (_number(V0, 2, 4097),                      r"n_layers: 4097; expected at most 4,096 layers"),
    (_number(V0, 0, 12),                        r"dim / n_heads: 3; expected an even number"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_bad_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message) as error:
        load(path)
    assert error.value.file == str(path) and str(error.value).startswith(f"{path}: error: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    weights = made.weights()
    weights["layers.1.up"][40, 3] = value
    (tmp_path / "model.bin").write_bytes(made.llama2c_v1(weights))
    model = load(tmp_path / "model.bin")
    with pytest.raises(ModelError, match=rf"tensor layers.1.up: element \[40, 3\] is {value}; expected finite weights"):
        model.check_weights()
    assert model.tensor("layers.1.up").rows(0, 40).shape == (40, made.DIM)


def test_a_file_that_shrinks_while_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(V1)
    model = load(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(V1[:300])
    with pytest.raises(ModelError, match="expected the file that was opened, unchanged"):
        model.check_weights()


MEASURE = """
import sys
from compiler.frontends import load
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
model = load(sys.argv[1])
before = peak()
model.check_weights()
print(peak() - before)
"""


def test_weights_stream(tmp_path: Path) -> None:
    """Reading 400 MB of weights, sixteen layers, takes less than 80 MB of memory, mapped pages included."""
    header = struct.pack("<Ii7iB", 0x616B3432, 1, 1024, 1024, 16, 16, 16, 512, 64, True).ljust(256, b"\0")
    with (tmp_path / "model.bin").open("wb") as stream:
        stream.write(header)
        stream.truncate(256 + 4 * (1024 * (2 * 16 + 1) + 512 * 1024 + 7 * 16 * 1024 * 1024))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / "model.bin")], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[3], timeout=LIMIT)
    assert int(done.stdout) < 80 * 1024         # KiB


# ------------------------------------------------------------------------------------------------ tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(V0)
    (tmp_path / "tokenizer.bin").write_bytes(made.llama2c_tokenizer(made.pieces()))
    return tmp_path


def test_tokenizer_beside_the_model(folder: Path) -> None:
    assert load(folder / "model.bin").tokenizer is not None
    (folder / "tokenizer.bin").rename(folder / "other")
    model = load(folder / "model.bin")
    with pytest.raises(ModelError, match=r"tokenizer: none; expected tok300\.bin or tokenizer\.bin beside it"):
        need_tokenizer(model)
    assert need_tokenizer(load(folder / "model.bin", folder / "other")).size == made.VOCAB
    (folder / "other").rename(folder / f"tok{made.VOCAB}.bin")
    assert load(folder / "model.bin").tokenizer is not None


@pytest.mark.parametrize(("change", "message"), [
    (lambda pieces: pieces[:-1],              "299 pieces; expected the model's vocabulary of 300"),
    (lambda pieces: [*pieces, (b"x", 0.0)],   "301 pieces; expected the model's vocabulary of 300"),
])
def test_tokenizer_of_another_size(change, message: str, folder: Path) -> None:     # type: ignore[no-untyped-def]
    (folder / "tokenizer.bin").write_bytes(made.llama2c_tokenizer(change(made.pieces())))
    with pytest.raises(ModelError, match=message):
        load(folder / "model.bin")


def test_damaged_tokenizer(folder: Path) -> None:
    data = made.llama2c_tokenizer(made.pieces())
    for end in (len(data) - 3, 4 + 8 + 2):
        (folder / "tokenizer.bin").write_bytes(data[:end])
        with pytest.raises(ModelError, match=r"piece \d+: the file ends within it; expected score, length and bytes"):
            load(folder / "model.bin")
    (folder / "tokenizer.bin").write_bytes(data[:8] + struct.pack("<i", -5) + data[12:])
    with pytest.raises(ModelError, match="piece 0: a bad length"):
        load(folder / "model.bin")
    assert llama2c.find_tokenizer(folder / "model.bin", 300) == folder / "tokenizer.bin"
