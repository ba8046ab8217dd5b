"""GGUF: block formats against the library's own values, the same model as llama2.c's, tokenizers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import llama_files as made
import numpy as np
import pytest
from random_models import SHAPES, random_model, rope
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

import slimulator
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.frontends import load, need_tokenizer
from compiler.frontends.gguf_blocks import FORMATS, BlockTensor
from compiler.frontends.gguf_blocks import block_tensor as tensor_of
from compiler.graph import Executor, build
from compiler.model.model import Model
from compiler.model.tensors import FileRange

Type = gguf.GGMLQuantizationType


def logits(model: Model) -> np.ndarray:
    executor = Executor(build(model.config), model)
    return np.stack([executor.step(token) for token in (1, 40, 299, 7, 7)])


# ------------------------------------------------------------------------------------------------ blocks


def random_blocks(kind: Any, rows: int, cols: int) -> np.ndarray:
    """Any bits that are codes of the format, with scales of a sane size: (rows, bytes)."""
    generator = np.random.default_rng(int(kind))
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (rows * cols // values, size), np.uint8)
    if kind is Type.TQ2_0:
        digits = generator.integers(0, 3, (4, len(blocks), 64), np.uint8)
        blocks[:, :64] = sum(digits[i] << np.uint8(2 * i) for i in range(4))
    scales_at = {Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_K: [0, 2], Type.Q6_K: [208], Type.TQ1_0: [52], Type.TQ2_0: [64]}
    for at in scales_at.get(kind, []):
        scales = generator.normal(0, 0.1, (len(blocks), 1)).astype("<f2")
        blocks[:, at:at + 2] = scales.view(np.uint8)
    if kind in (Type.F32, Type.F16, Type.BF16):
        blocks = generator.normal(0, 0.1, (rows, cols)).astype(np.float32)
        return gguf.quantize(blocks, kind).view(np.uint8).reshape(rows, -1)
    return blocks.reshape(rows, -1)


def block_tensor(path: Path, data: np.ndarray, cols: int, kind: Any) -> BlockTensor:
    """A file that holds five other bytes, then the blocks: (rows, bytes)."""
    path.write_bytes(b"other" + data.tobytes())
    where = FileRange(path, 5, data.nbytes)
    return tensor_of("W", (len(data), cols), kind, where)


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_values_and_codes_are_the_librarys(kind: Any, tmp_path: Path) -> None:
    """Every format, every block of rows: rows equal the library's values bit by bit, and codes times scales are the same."""
    rows, cols = 7, 512
    data = random_blocks(kind, rows, cols)
    stored = data.view({Type.F32: np.float32, Type.F16: np.float16}.get(kind, np.uint8))
    theirs = np.asarray(gguf.dequantize(stored, kind), np.float32)
    tensor = block_tensor(tmp_path / "blocks", data, cols, kind)
    assert np.ptp(theirs) > 0.1
    for first, last in ((0, 7), (0, 1), (2, 6), (6, 7)):
        assert np.array_equal(tensor.rows(first, last), theirs[first:last])
        if tensor.levels:
            codes = tensor.codes(first, last)
            assert np.array_equal(codes.floats(), theirs[first:last])
            assert codes.values.min() >= tensor.levels[0] and codes.values.max() <= tensor.levels[-1]
            assert codes.scales.shape == (last - first, cols // codes.group)
            assert len(np.unique(codes.values)) >= min(3, len(tensor.levels))


@pytest.mark.parametrize("kind", [Type.TQ1_0, Type.TQ2_0], ids=lambda kind: kind.name)
def test_ternary_weights_come_back_exactly(kind: Any, tmp_path: Path) -> None:
    """Codes and scales that went in: what the library packed is unpacked to what it was made from."""
    generator = np.random.default_rng(4)
    codes = generator.integers(-1, 2, (5, 768), np.int8)
    scales = generator.uniform(0.01, 1, (5, 3)).astype("<f2").astype(np.float32)
    codes[:, ::256] = 1                                         # every block has its scale as a value
    tensor = block_tensor(tmp_path / "blocks", gguf.quantize(codes * np.repeat(scales, 256, axis=1), kind), 768, kind)
    assert np.array_equal(tensor.codes().values, codes) and np.array_equal(tensor.codes().scales, scales)


STORED = {"F32": "f32", "F16": "f16", "BF16": "bf16", "Q8_0": "i8", "Q4_0": "i4", "Q4_K": "f32", "Q6_K": "i8",
          "TQ1_0": "t2", "TQ2_0": "t2"}


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_every_format_becomes_a_program(kind: Any, tmp_path: Path) -> None:
    """With every code that the format has, in every matrix, the embedding too: kept as they are, every operation as the graph's."""
    config = replace(SHAPES["gqa"], dim=256, heads=4, head_dim=64, hidden=512, layers=1, rope=rope(64))
    model = random_model(config)
    tensors = {role: block_tensor(tmp_path / role, random_blocks(kind, *tensor.shape), tensor.shape[1], kind)
               if len(tensor.shape) == 2 else tensor for role, tensor in model.tensors.items()}
    compiled = compile_model(replace(model, tensors=tensors))
    for role, tensor in tensors.items():
        kept = compiled.model.tensor(role)
        assert np.array_equal(kept.rows(), tensor.rows()) and kept.levels == tensor.levels
    assert compiled.layout.layer["down"].format.name == STORED[kind.name]
    assert compiled.layout.once["embedding"].format.name == (STORED[kind.name] if STORED[kind.name][0] in "fb" else "i8")
    assert compare(compiled, compiled.build(tmp_path), [1, 5, 9])[1] is None


def test_code_that_is_not_ternary(tmp_path: Path) -> None:
    data = random_blocks(Type.TQ2_0, 3, 256)
    data[1, 33] = 0xFF
    tensor = block_tensor(tmp_path / "blocks", data, 256, Type.TQ2_0)
    with pytest.raises(ModelError, match=r"tensor W: code 3 at \[1, 129\]; expected 0, 1 or 2"):
        tensor.codes()


# ------------------------------------------------------------------------------------------------ models


def test_same_model_as_llama2c(tmp_path: Path) -> None:
    """A "llama" is stored for rope of neighbours, as llama2.c stores it; a "qwen2" for rope of halves."""
    weights = made.weights()
    (tmp_path / "model.bin").write_bytes(made.llama2c_v0(weights))
    expected = logits(load(tmp_path / "model.bin"))
    assert np.array_equal(logits(load(made.write_gguf(tmp_path / "model.gguf", weights))), expected)
    halves = {role: made.in_halves(array, {"q": made.HEADS, "k": made.KV_HEADS}[role[-1]]) if role[-2:] in (".q", ".k") else array
              for role, array in weights.items()}
    qwen2 = load(made.write_gguf(tmp_path / "qwen2.gguf", halves, architecture="qwen2"))
    assert np.allclose(logits(qwen2), expected, rtol=1e-5, atol=1e-5)


def test_rope_factors_divide_the_frequencies(tmp_path: Path) -> None:
    factors = np.array([1, 2, 4, 8], np.float32)
    plain, scaled = (load(made.write_gguf(tmp_path / f"{bool(raw)}.gguf", made.weights(), raw=raw)).config.rope
                     for raw in ({}, {"rope_freqs.weight": (factors, Type.F32)}))
    assert plain is not None and scaled is not None
    assert np.allclose(np.array(plain.frequencies) / factors, scaled.frequencies)


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"llama.attention.head_count": 5}, r"llama.attention.head_count: 5; expected a divisor of embedding_length, 32"),
    ({"llama.attention.head_count_kv": 3},               r"llama.attention.head_count_kv: 3; expected a divisor of the 4 heads"),
    ({"llama.attention.head_count_kv": [2, 2]},          r"llama.attention.head_count_kv: \[2, 2\]; expected a whole number"),
    ({"llama.block_count": 3},                           r"tensor blk.2.attn_norm.weight: missing; expected \[32\], for layers.2"),
    ({"llama.block_count": 1},                           r"tensor blk.1.attn_norm.weight: not a part of the model"),
    ({"llama.feed_forward_length": 40},                  r"tensor blk.0.ffn_gate.weight: shape \[48, 32\]; expected \[40, 32\]"),
    ({"llama.vocab_size": 301},                          r"tensor token_embd.weight: shape \[300, 32\]; expected \[301, 32\]"),
    ({"llama.rope.dimension_count": 4},                  r"llama.rope.dimension_count: 4; expected 8, the size of a head of keys"),
    ({"llama.attention.key_length": 16},                 r"llama.rope.dimension_count: 8; expected 16"),
    ({"llama.attention.value_length": 16},               r"llama.attention.value_length: 16; expected 8, the size of a head"),
    ({"llama.rope.scaling.type": "yarn"},                r"llama.rope.scaling.type: 'yarn'; expected none or linear"),
    ({"llama.rope.freq_base": 0.0},                      r"llama.rope.freq_base: 0.0; expected a positive number"),
    ({"llama.expert_count": 8},                          r"llama.expert_count: 8; expected 0 or absent"),
    ({"llama.attention.sliding_window": 128},            r"llama.attention.sliding_window: 128; expected 0 or absent"),
    ({"llama.logit_scale": 0.5},                         r"llama.logit_scale: 0.5; expected 1\nhint: scaled logits"),
    ({"llama.attention.scale": 0.5},                     r"llama.attention.scale: 0.5; expected 0, or one over the root of 8"),
    ({"llama.attention.causal": False},                  r"llama.attention.causal: False; expected true"),
    ({"llama.rope.scaling.attn_factor": 1.2},            r"llama.rope.scaling.attn_factor: 1.2.*; expected 1"),
    ({"llama.attention.clamp_kqv": 8.0},                 r"llama.attention.clamp_kqv: unknown option, 8.0"),
    ({"llama.attention.max_alibi_bias": 8.0},            r"llama.attention.max_alibi_bias: unknown option"),
    ({"llama.final_logit_softcapping": 30.0},            r"llama.final_logit_softcapping: unknown option"),
    ({"llama.attention.layer_norm_rms_epsilon": 0.0}, r"llama.attention.layer_norm_rms_epsilon: 0.0; expected a positive number"),
    ({"split.count": 2},                                 r"split.count: 2; expected 1: .*\nhint: join the parts"),
    ({"tokenizer.ggml.model": "bert"},                   r"tokenizer.ggml.model: 'bert'; expected llama or gpt2"),
    ({"tokenizer.ggml.model": "llama"}, r"tokenizer.ggml.tokens: missing or of another type; expected a list of str"),
    ({"tokenizer.ggml.bos_token_id": 300}, r"tokenizer.ggml.bos_token_id: 300; expected a token of the vocabulary of 300"),
]


@pytest.mark.parametrize(("fields", "message"), FIELDS, ids=[str(fields)[:50] for fields, _ in FIELDS])
def test_bad_fields(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = made.write_gguf(tmp_path / "model.gguf", made.weights(), fields=fields)
    with pytest.raises(ModelError, match=message) as error:
        load(path)
    assert error.value.file == str(path)


def test_bad_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    some = np.zeros((32, 32), np.float32)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"architecture": "gemma"}, r"architecture: 'gemma'; expected llama, qwen2, qwen3, bitnet, bitnet-b1.58 or bitnet-25"),
        ({"leave_out": "token_embd.weight"},                        r"tensor token_embd.weight: missing; expected the embedding"),
        ({"leave_out": "blk.1.ffn_up.weight"},                      r"tensor blk.1.ffn_up.weight: missing"),
        ({"types": {"up": Type.Q5_0}}, r"tensor blk.0.ffn_up.weight: type Q5_0; expected F32, .* or I2_S\nhint: .*llama-quantize"),
        ({"raw": {"blk.0.attn_q.scale": (some[0, :1], Type.F32)}},  r"tensor blk.0.attn_q.scale: not a part of the model"),
        ({"raw": {"blk.0.attn_q.weight": (some[None], Type.F32)}},
         r"blk.0.attn_q.weight: shape \[1, 32, 32\] of F32; expected a vector or"),
        ({"raw": {"rope_freqs.weight": (some[0, :4], Type.F32)}},   r"tensor rope_freqs.weight: 0.0; expected positive factors"),
        ({"raw": {"rope_freqs.weight": (some[0, :3], Type.F32)}},   r"tensor rope_freqs.weight: shape \[3\]; expected \[4\]"),
    ]
    for arguments, message in cases:
        path.unlink(missing_ok=True)
        made.write_gguf(path, made.weights(), **arguments)
        with pytest.raises(ModelError, match=message):
            load(path)


NEUTRAL: dict[str, Any] = {
    "rope.scaling.finetuned": False, "rope.scaling.attn_factor": 1.0, "logit_scale": 1.0, "attention.causal": True,
    "tensor_data_layout": "Meta AI original pth", "rope.scaling.type": "none", "rope.scaling.factor": 4.0,
    "attention.scale": made.HEAD ** -0.5, "residual_scale": 1.0, "embedding_scale": 0.0, "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0, "final_logit_softcapping": 0.0, "use_parallel_residual": False, "expert_count": 0,
    "expert_weights_scale": 0.0, "leading_dense_block_count": 0, "rope.scaling.yarn_ext_factor": 0.0, "full_attention_interval": 0}


def test_keys_at_their_neutral_value_change_nothing(tmp_path: Path) -> None:
    before = logits(load(made.write_gguf(tmp_path / "plain.gguf", made.weights())))
    fields = {f"llama.{key}": value for key, value in NEUTRAL.items()}
    model = load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields={**fields, "llama.brand_new": 3}))
    assert np.array_equal(logits(model), before)
    assert model.notes == ("ignored options: brand_new",)
    finetuned = {"llama.rope.scaling.finetuned": True}
    assert np.array_equal(logits(load(made.write_gguf(tmp_path / "fine.gguf", made.weights(), fields=finetuned))), before)


@pytest.mark.parametrize(("number", "name"), [(37, "I8_S"), (38, "TL1"), (4, "Q4_2"), (99, "99"), (16, "IQ2_XXS")])
def test_types_that_are_not_read_are_named(number: int, name: str, tmp_path: Path) -> None:
    data = made.gguf_bytes({"general.architecture": "llama"}, {"W": ((4, 256), number, bytes(4096))})
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=rf"tensor W: type {name}; expected F32, .* TQ2_0 or I2_S\nhint: ") as error:
        load(tmp_path / "model.gguf")
    assert "damaged" not in str(error.value)


def test_qwen3_has_norms_of_heads(tmp_path: Path) -> None:
    norms = {f"blk.{layer}.attn_{x}_norm.weight": (np.linspace(0.5, 1.5, made.HEAD, dtype=np.float32), Type.F32)
             for layer in range(made.LAYERS) for x in "qk"}
    model = load(made.write_gguf(tmp_path / "model.gguf", made.weights(), architecture="qwen3", raw=norms))
    assert model.config.qk_norm and model.tensor("layers.1.k_norm").vector()[0] == 0.5
    with pytest.raises(ModelError, match=r"blk.0.attn_q_norm.weight: missing; expected \[8\], for layers.0.q_norm"):
        load(made.write_gguf(tmp_path / "without.gguf", made.weights(), architecture="qwen3"))


def test_files_cut_short_anywhere(tmp_path: Path) -> None:
    """Every length of the head, and some of the rest: always the one error, soon."""
    data = made.write_gguf(tmp_path / "whole.gguf", made.weights(), fields={"tokenizer.ggml.scores": [0.5] * 20}).read_bytes()
    path = tmp_path / "model.gguf"
    for size in [*range(4, 1500, 7), *range(1500, len(data), 9973), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r"a damaged GGUF file: .*; expected a whole one"):
            load(path)


def test_damaged_counts(tmp_path: Path) -> None:
    """A length of 2**60 is found to be more than the file has; nothing is allocated for it."""
    data = made.write_gguf(tmp_path / "whole.gguf", made.weights(), fields={"a.list": [0.5] * 20}).read_bytes()
    at = data.index(b"a.list") + 6 + 4 + 4
    for start, size in ((8, 8), (16, 8), (at, 8), (at - 4, 4), (at - 8, 4)):
        broken = bytearray(data)
        broken[start:start + size] = b"\xff" * (size - 1) + b"\x0f"
        (tmp_path / "model.gguf").write_bytes(broken)
        with pytest.raises(ModelError, match="a damaged GGUF file"):
            load(tmp_path / "model.gguf")


# ------------------------------------------------------------------------------------------------ tokenizers


def spm_fields() -> dict[str, Any]:
    pieces = made.pieces()
    return {"tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [piece.decode().replace(" ", "▁") for piece, _ in pieces],
            "tokenizer.ggml.scores": [score for _, score in pieces],
            "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (made.VOCAB - 259)],
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}


def test_pieces_with_scores_are_llama2cs(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(made.llama2c_v0(made.weights()))
    (tmp_path / "tokenizer.bin").write_bytes(made.llama2c_tokenizer(made.pieces()))
    theirs = need_tokenizer(load(tmp_path / "model.bin"))
    model = load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields=spm_fields()))
    ours = need_tokenizer(model)
    for text in ("", "abc no", " ab\n", "é🦊", "no no  no"):
        assert ours.encode(text) == theirs.encode(text) and ours.decode(ours.encode(text)) == text
    assert model.config.bos == 1 and model.config.stop == {2}
    path = made.write_gguf(tmp_path / "bare.gguf", made.weights(), fields={**spm_fields(), "tokenizer.ggml.add_bos_token": False,
                                                                           "tokenizer.ggml.add_space_prefix": False})
    bare = need_tokenizer(load(path))
    assert bare.encode(" ab") == theirs.encode("ab")[1:] and bare.decode(bare.encode(" ab")) == " ab"
    assert need_tokenizer(load(tmp_path / "model.bin", path)).size == made.VOCAB


TEXTS = ["Hello there, I'll take 12345 apples!", "  two  spaces\n\n\ttabs", "naïve café 🦊 don't WE'LL", "x=1;y<=22 ½", ""]


def trained(steps: list[Any]) -> Library:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence([*steps])
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=made.VOCAB, special_tokens=["<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    library.train_from_iterator(TEXTS * 3, trainer)
    return library


def bpe_fields(library: Library, pre: str) -> dict[str, Any]:
    model = json.loads(library.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    tokens += [f"[pad{number}]" for number in range(made.VOCAB - len(tokens))]
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.merges": merges, "tokenizer.ggml.token_type": [3, 3, *[1] * (made.VOCAB - 2)],
            "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1}


@pytest.mark.parametrize(("pre", "steps", "bos"), [
    ("gpt-2",  [pre_tokenizers.ByteLevel(add_prefix_space=False)], []),
    ("smollm", [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)], []),
])
def test_byte_level_bpe(pre: str, steps: list[Any], bos: list[int], tmp_path: Path) -> None:
    """Trained by the library, written as GGUF: the same tokens, and special tokens have no text."""
    library = trained(steps)
    assert library.get_vocab_size() > 260
    ours = need_tokenizer(load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields=bpe_fields(library, pre))))
    for text in (*TEXTS, "unseen words: zebra 2026"):
        assert ours.encode(text) == [*bos, *library.encode(text).ids]
        assert ours.decode([0, *ours.encode(text), 1]) == text


def test_what_a_user_has_defined_is_found_whole_in_byte_level_bpe(tmp_path: Path) -> None:
    fields = bpe_fields(trained([pre_tokenizers.ByteLevel(add_prefix_space=False)]), "gpt-2")
    replaced, fields["tokenizer.ggml.tokens"][-1] = fields["tokenizer.ggml.tokens"][-1], "<tool>"
    fields["tokenizer.ggml.merges"] = [merge for merge in fields["tokenizer.ggml.merges"] if merge.replace(" ", "") != replaced]
    for kind, whole in ((1, False), (4, True)):
        fields["tokenizer.ggml.token_type"][-1] = kind
        ours = need_tokenizer(load(made.write_gguf(tmp_path / f"{kind}.gguf", made.weights(), fields=fields)))
        assert (ours.encode("<tool>") == [made.VOCAB - 1]) == whole
        assert ours.decode(ours.encode("a <tool>b")) == "a <tool>b"


def test_bos_is_put_before_where_the_file_or_its_kind_says_so(tmp_path: Path) -> None:
    fields = bpe_fields(trained([pre_tokenizers.ByteLevel(add_prefix_space=False)]), "llama-bpe")
    encoded = []
    for number, more in enumerate(({}, {"tokenizer.ggml.add_bos_token": False})):
        path = made.write_gguf(tmp_path / f"{number}.gguf", made.weights(), fields={**fields, **more})
        encoded.append(need_tokenizer(load(path)).encode("Hello"))
    assert encoded[0] == [0, *encoded[1]]


def test_llama_3s_vocabulary_is_known_without_pre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Microsoft's converter writes no tokenizer.ggml.pre. Of another vocabulary nobody knows how texts were split."""
    fields = bpe_fields(trained([pre_tokenizers.ByteLevel(add_prefix_space=False)]), "llama-bpe")
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokens = fields["tokenizer.ggml.tokens"] = [*fields["tokenizer.ggml.tokens"][:-4], *marks]
    fields["tokenizer.ggml.merges"] = [merge for merge in fields["tokenizer.ggml.merges"]
                                       if {*merge.split(), merge.replace(" ", "")} <= set(tokens)]
    said = need_tokenizer(load(made.write_gguf(tmp_path / "said.gguf", made.weights(), fields=fields)))
    fields.pop("tokenizer.ggml.pre")
    model = load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields=fields))
    assert all(need_tokenizer(model).encode(text) == said.encode(text) for text in TEXTS)
    note = "tokenizer.ggml.pre is missing; the vocabulary is Llama 3's: texts are split as for llama-bpe"
    assert model.notes == (note,)
    words = tmp_path / "model.gguf"                         # as the tokenizer of another file, and of a program
    assert load(tmp_path / "said.gguf", words).notes == (f"{words}: {note}",) and not load(tmp_path / "said.gguf").notes
    compile_model(load(tmp_path / "said.gguf")).save(tmp_path / "said.elf")
    for more, expected in (([], f"{words}: note: {note}\n"), (["--quiet"], "")):
        command = ["generate", str(tmp_path / "said.elf"), "a", "-n", "1", "--tokenizer", str(words), *more]
        assert slimulator.invoke(command) == 0
        assert "".join(line for line in capsys.readouterr().err.splitlines(keepends=True) if "note" in line) == expected
    fields["tokenizer.ggml.tokens"][-1] = "[pad]"
    with pytest.raises(ModelError, match=r"tokenizer.ggml.pre: missing; expected gpt-2, .*\nhint: a tokenizer.json can be named"):
        load(made.write_gguf(tmp_path / "other.gguf", made.weights(), fields=fields))


@pytest.mark.parametrize(("change", "message"), [
    ({"tokenizer.ggml.pre": "chatglm"},                    r"tokenizer.ggml.pre: 'chatglm'; expected gpt-2, .* or deepseek-r1"),
    ({"tokenizer.ggml.pre": "lama-bpe"},                   r"hint: did you mean 'llama-bpe'"),
    ({"tokenizer.ggml.merges": ["q zzz"]},                 r"tokenizer.ggml.merges: .*; expected pairs of tokens"),
    ({"tokenizer.ggml.merges": ["abc"]}, r"tokenizer.ggml.merges: 'abc'; expected two tokens with a space between"),
    ({"tokenizer.ggml.token_type": [1, 2]}, r"tokenizer.ggml.token_type: 2 entries; expected one for each of 300 tokens"),
    ({"tokenizer.ggml.token_type": [9] * made.VOCAB},      r"tokenizer.ggml.token_type: 9; expected 1 to 6"),
    ({"tokenizer.ggml.tokens": ["a"] * made.VOCAB},        r"tokenizer.ggml.tokens: a duplicate token"),
])
def test_bad_bpe(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    fields = {**bpe_fields(trained([pre_tokenizers.ByteLevel(add_prefix_space=False)]), "gpt-2"), **change}
    with pytest.raises(ModelError, match=message):
        load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields=fields))


def test_bad_pieces(tmp_path: Path) -> None:
    fields = spm_fields()
    for change, message in (({"tokenizer.ggml.scores": [1.0]}, "scores: 1 entries; expected one for each of 300"),
                            ({"tokenizer.ggml.scores": "x"}, "scores: missing or of another type; expected a list of float"),
                            ({"tokenizer.ggml.token_type": [6] * made.VOCAB}, "piece 0: b'<unk>' is marked as a byte"),
                            ({"tokenizer.ggml.tokens": ["a"] * 200}, "token_type: 300 entries; expected one for each of 200")):
        (tmp_path / "model.gguf").unlink(missing_ok=True)
        with pytest.raises(ModelError, match=message):
            load(made.write_gguf(tmp_path / "model.gguf", made.weights(), fields={**fields, **change}))
