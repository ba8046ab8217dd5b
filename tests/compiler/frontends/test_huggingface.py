"""Hugging Face directories: the same model as llama2.c's, and each thing that is refused, by its message."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer as Library
from tokenizers import models

from compiler.errors import ModelError
from compiler.frontends import huggingface, load, need_tokenizer
from compiler.graph import Executor, build
from compiler.model.model import Model

MODEL = "model.safetensors"


def logits(model: Model) -> np.ndarray:
    executor = Executor(build(model.config), model)
    return np.stack([executor.step(token) for token in (1, 40, 299, 7, 7)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.write_hf(tmp_path, made.hf_tensors(made.weights()))


def test_same_model_as_llama2c(folder: Path) -> None:
    """Rope of halves on rows in halves is rope of neighbours on rows of neighbours."""
    (folder / "model.bin").write_bytes(made.llama2c_v0(made.weights()))
    assert np.allclose(logits(load(folder)), logits(load(folder / "model.bin")), rtol=1e-5, atol=1e-5)


def test_names_without_the_first_part_and_buffers_that_are_computed(folder: Path) -> None:
    tensors = {name.removeprefix("model."): array for name, array in made.hf_tensors(made.weights()).items()}
    tensors["layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    before = logits(load(folder))
    save_file(tensors, folder / MODEL)
    assert np.array_equal(logits(load(folder)), before)


TIED = {"tie_word_embeddings": True}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_a_tied_head_under_either_name(tmp_path: Path) -> None:
    """One matrix for both, whichever it is called; and both, if they are equal to the last bit."""
    tensors = made.hf_tensors(made.weights(tied=True))
    made.write_hf(tmp_path, tensors, **TIED)
    model = load(tmp_path)
    before = logits(model)
    assert model.config.tied and model.tensor("head") is model.tensor("embedding")
    under_head = {HEAD if name == EMBEDDING else name: array for name, array in tensors.items()}
    for other in (under_head, {**tensors, HEAD: tensors[EMBEDDING].copy()}):
        save_file(other, tmp_path / MODEL)
        model = load(tmp_path)
        assert model.config.tied and not model.notes and np.array_equal(logits(model), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_head_of_its_own_is_used_whatever_the_configuration_says(dtype: Any, tmp_path: Path) -> None:
    """What merging an adapter saves: tie_word_embeddings, and a head that is another matrix, by one element or by its type."""
    tensors = made.hf_tensors(made.weights())
    tensors[HEAD] = tensors[EMBEDDING].astype(dtype)
    tensors[HEAD][-1, -1] += 1
    made.write_hf(tmp_path, tensors)
    untied = load(tmp_path)
    before = logits(untied)
    made.write_hf(tmp_path, tensors, **TIED)
    model = load(tmp_path)
    assert np.array_equal(logits(model), before) and not model.config.tied and not untied.notes
    assert model.notes == (f"tie_word_embeddings is true, and {HEAD} differs from the embedding: it is used, as in transformers",)


def test_equal_heads_are_held_against_each_other_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "COMPARED", 1000)
    tensors = made.hf_tensors(made.weights(tied=True))
    for change in (0, 1):
        tensors[HEAD] = tensors[EMBEDDING].copy()
        tensors[HEAD][-1, -1] += change
        made.write_hf(tmp_path, tensors, **TIED)
        assert load(tmp_path).config.tied is not bool(change)


def test_end_of_text_is_in_two_files(folder: Path) -> None:
    assert load(folder).config.stop == {2}
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 7]}')
    assert load(folder).config.stop == {2, 5, 7} and load(folder).config.bos == 1


# ------------------------------------------------------------------------------------------------ configuration

OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"architectures": ["GemmaForCausalLM"]},
     r"architectures: \['GemmaForCausalLM'\]; expected LlamaForCausalLM, .* or OPTForCausalLM"),
    ({"architectures": ["LLamaForCausalLM"]},       r"hint: did you mean 'LlamaForCausalLM'"),
    ({"architectures": ...},                        r"architectures: missing; expected one of LlamaForCausalLM"),
    ({"architectures": ["LlamaForCausalLM", "X"]},  r"architectures: .*; expected one of"),
    ({"hidden_size": ...},                          r"hidden_size: missing; expected a positive whole number"),
    ({"hidden_size": "32"},                         r"hidden_size: '32'; expected a positive whole number"),
    ({"hidden_size": True},                         r"hidden_size: True; expected a positive whole number"),
    ({"vocab_size": 0},                             r"vocab_size: 0; expected a positive whole number"),
    ({"num_attention_heads": 5},                    r"num_attention_heads: 5; expected a divisor of hidden_size, 32"),
    ({"num_hidden_layers": 200_000},                r"num_hidden_layers: 200000; expected at most 4,096 layers"),
    ({"num_key_value_heads": 3},                    r"num_key_value_heads: 3; expected a divisor of the 4 heads"),
    ({"num_key_value_heads": -2},                   r"num_key_value_heads: -2; expected a positive whole number"),
    ({"head_dim": 1 << 40}, r"head_dim: 1099511627776; expected the size of a head, 1 to 65536"),
    ({"head_dim": 0}, r"head_dim: 0; expected the size of a head"),
    ({"head_dim": 7},                               r"head_dim: 7; expected an even number"),
    ({"rms_norm_eps": 0},                           r"rms_norm_eps: 0.0; expected a positive number"),
    ({"hidden_act": "gelu"}, r"hidden_act: 'gelu'; expected silu, swish, relu, relu2, gelu_new or gelu_pytorch_tanh"),
    ({"tie_word_embeddings": "yes"},                r"tie_word_embeddings: 'yes'; expected true or false"),
    ({"eos_token_id": "end"},                       r"eos_token_id: 'end'; expected a token or a list of tokens"),
    ({"eos_token_id": 300},                         r"eos_token_id: \[300\]; expected tokens of the vocabulary of 300"),
    ({"rope_theta": -1.0},                          r"rope_theta: -1.0; expected a positive number"),
    ({"rope_scaling": {"type": "yarn"}},            r"rope_scaling.type: 'yarn'; expected default, linear or llama3"),
    ({"rope_scaling": {"rope_type": "dynamic"}},    r"rope_scaling.rope_type: 'dynamic'; expected default, linear or llama3"),
    ({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "yarn"}}, r"rope_scaling.rope_type: 'yarn'"),
    ({"rope_parameters": {"rope_type": "longrope"}}, r"rope_parameters.rope_type: 'longrope'"),
    ({"rope_scaling": {"type": "linear"}},          r"rope_scaling.factor: missing; expected a number"),
    ({"rope_scaling": {"type": "linear", "factor": 0}}, r"rope_scaling.factor: 0; expected a positive number"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0, "beta": 3}}, r"rope_scaling.beta: unknown option, 3"),
    ({"rope_parameters": {"rope_type": "default",
     "partial_rotary_factor": 0.5}}, r"rope_parameters.partial_rotary_factor: 0.5; expected 1.0"),
    ({"rope_scaling": 3},                           r"rope_scaling: 3; expected an object"),
    ({"partial_rotary_factor": 0.25},               r"partial_rotary_factor: 0.25; expected 1.0\nhint: rope of a part of a head"),
    ({"layer_types": ["sliding_attention"] * 2},    r"layer_types: .*; expected \"full_attention\" in every layer"),
    ({"layer_types": 5},                            r"layer_types: 5; expected"),
    ({"use_sliding_window": True},                  r"use_sliding_window: True; expected false"),
    ({"attn_logit_softcapping": 50.0},              r"attn_logit_softcapping: 50.0; expected null"),
    ({"num_local_experts": 8},                      r"num_local_experts: 8; expected none\nhint: mixtures of experts"),
    ({"layer_norm_elementwise_affine": False},      r"layer_norm_elementwise_affine: False; expected true"),
    ({"hiden_act": "relu"},                         r"hiden_act: unknown option, 'relu'; .*\nhint: did you mean 'hidden_act'"),
    ({"hidden_sise": 32},                           r"hidden_sise: unknown option, 32; .*\nhint: did you mean 'hidden_size'"),
    ({"layer_scale": {"a": 1}},                     r"layer_scale: unknown option, .*\nhint: it may change what is computed"),
    ({"quantization_config": {"quant_method": "bitnet",
     "use_rms_norm": True}}, r"quantization_config.use_rms_norm: True; expected false"),
    ({"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}},
     r"quantization_config.quantization_mode: 'online'; expected offline for linear_class bitlinear"),
    ({"quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["model.layers.0"]}},
     r"quantization_config.modules_to_not_convert: .*; expected null or"),
    ({"quantization_config": {"quant_method": "bitnet"},
     "attention_bias": True}, r"BitNet weights and biases; expected linears without"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[str(options)[:60] for options, _ in OPTIONS])
def test_bad_options(options: dict[str, Any], message: str, folder: Path) -> None:
    made.write_hf(folder, made.hf_tensors(made.weights()), **options)
    with pytest.raises(ModelError, match=message) as error:
        load(folder)
    assert error.value.file == str(folder / "config.json")


@pytest.mark.parametrize("options", [
    {"attn_logit_softcapping": None}, {"is_encoder_decoder": False}, {"some_new_switch": False}, {"pruned_heads": {}},
    {"partial_rotary_factor": 1.0}, {"layer_types": ["full_attention"] * 2}, {"rope_scaling": None}, {"attention_dropout": 0.3},
])
def test_options_that_change_nothing(options: dict[str, Any], folder: Path) -> None:
    before = logits(load(folder))
    made.write_hf(folder, made.hf_tensors(made.weights()), **options)
    assert np.array_equal(logits(load(folder)), before)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "config.json: error: not JSON: "), ("[1]", "JSON of type list; expected a JSON object"), ("\xff", "not JSON"),
])
def test_not_json(text: str, message: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=message):
        load(folder)


# ------------------------------------------------------------------------------------------------ weights

Change = Callable[[dict[str, np.ndarray]], None]
Q = "model.layers.1.self_attn.q_proj.weight"


def _put(name: str, array: np.ndarray) -> Change:
    return lambda tensors: tensors.update({name: array})


TENSORS: list[tuple[Change, str]] = [
    (lambda tensors: tensors.pop(Q) is None,              r"tensor layers.1.self_attn.q_proj.weight: missing; expected \[32, 32\]"),
    (lambda tensors: tensors.pop("lm_head.weight") is None,
     r"tensor lm_head.weight: missing; expected \[300, 32\], for head\nhint: config.json does not say that the head is the emb"),
    (lambda tensors: tensors.pop(EMBEDDING) is None,      r"tensor embed_tokens.weight: missing; expected \[300, 32\]"),
    (_put(Q, np.zeros((32, 16), np.float32)), r"q_proj.weight: shape \[32, 16\]; expected \[32, 32\], as the configuration says"),
    (_put(Q, np.zeros(32, np.float32)),                   r"q_proj.weight: shape \[32\]; expected \[32, 32\]"),
    (_put("model.norm.weight", np.ones((1, 32), np.float32)), r"model.norm.weight: shape \[1, 32\]; expected \[32\]"),
    (_put(Q, np.zeros((32, 32))),                         r"q_proj.weight: type F64; expected F32, F16 or BF16"),
    (_put(Q, np.zeros((32, 32), np.int8)),                r"q_proj.weight: type I8; expected"),
    (_put(Q, np.zeros((8, 32), np.uint8)),                r"type U8; .*\nhint: packed BitNet weights need quantization_config"),
    (_put(Q.replace("weight",
     "bias"), np.zeros(32, np.float32)), r"q_proj.bias: not a part of the model; .*\nhint: .*such as a bias"),
    (_put("model.layers.2.mlp.up_proj.weight", np.zeros((48, 32), np.float32)),
     r"layers.2.mlp.up_proj.weight: not a part of the model"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS, ids=[message[:50] for _, message in TENSORS])
def test_bad_tensors(change: Change, message: str, folder: Path) -> None:
    tensors = made.hf_tensors(made.weights())
    change(tensors)
    save_file(tensors, folder / MODEL)
    with pytest.raises(ModelError, match=message):
        load(folder)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_truncated_weights(size: int, folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:size])
    with pytest.raises(ModelError, match=r"bytes that are not a safetensors file: .*; expected a whole .*\nhint: a truncated"):
        load(folder)


def test_header_that_is_no_header(folder: Path) -> None:
    (folder / MODEL).write_bytes(struct.pack("<Q", 2) + b"[]" + bytes(100))
    with pytest.raises(ModelError, match="that are not a safetensors file"):
        load(folder)


def test_nan(folder: Path) -> None:
    tensors = made.hf_tensors(made.weights())
    tensors[Q][3, 4] = np.nan
    save_file(tensors, folder / MODEL)
    with pytest.raises(ModelError, match=rf"tensor {Q}: element \[3, 4\] is nan; expected finite weights"):
        load(folder).check_weights()


def shard(folder: Path) -> dict[str, str]:
    """Two files and their index; returns the map."""
    tensors = made.hf_tensors(made.weights())
    (folder / MODEL).unlink()
    names = sorted(tensors)
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    write_index(folder, places)
    return places


def write_index(folder: Path, places: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_shards(folder: Path) -> None:
    before = logits(load(folder))
    shard(folder)
    assert np.array_equal(logits(load(folder)), before)


def test_bad_shards(folder: Path) -> None:
    places = shard(folder)
    (folder / "part-1.safetensors").rename(folder / "kept")
    with pytest.raises(ModelError, match=r"weight_map: part-1.safetensors is missing; expected all 2 shards\nhint: download"):
        load(folder)
    (folder / "part-1.safetensors").write_bytes((folder / "kept").read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"part-1.safetensors: error: \d+ bytes that are not a safetensors file"):
        load(folder)
    (folder / "kept").rename(folder / "part-1.safetensors")
    other = next(file for file in places.values() if file != places["lm_head.weight"])
    write_index(folder, {**places, "lm_head.weight": other})
    with pytest.raises(ModelError, match=r"tensor lm_head.weight: missing; expected in this file, as the index says"):
        load(folder)
    write_index(folder, {**places, "lm_head.weight": "../part-0.safetensors"})
    with pytest.raises(ModelError, match=r"weight_map: '../part-0.safetensors'; expected the name of a file in the same directory"):
        load(folder)
    write_index(folder, [1])
    with pytest.raises(ModelError, match="weight_map: missing, or damaged; expected a map"):
        load(folder)


def test_what_is_not_a_model(tmp_path: Path, folder: Path) -> None:
    (folder / MODEL).rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model.safetensors, but pytorch_model.bin; .*\nhint: save the model with"):
        load(folder)
    with pytest.raises(ModelError, match="hint: give "):
        load(folder / "config.json")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config.json; expected a Hugging Face model directory"):
        load(folder)
    with pytest.raises(ModelError, match=r"none: error: No such file or directory; expected a model"):
        load(tmp_path / "none")


# ------------------------------------------------------------------------------------------------ BitNet

BITNET: dict[str, Any] = {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"}}


def packed() -> dict[str, np.ndarray]:
    """The linears of the layers as random ternary codes, four rows to one."""
    generator, tensors = np.random.default_rng(5), made.hf_tensors(made.weights())
    for name in [name for name in tensors if "_proj" in name]:
        rows, cols = tensors[name].shape
        quarters = generator.integers(0, 3, (4, rows // 4, cols), np.uint8)
        tensors[name] = sum(quarters[i] << np.uint8(2 * i) for i in range(4)).astype(np.uint8)
        tensors[name.replace("weight", "weight_scale")] = np.array([0.05], np.float32)
    return tensors


PACKED: list[tuple[Change, str]] = [
    (lambda tensors: tensors.pop(f"{Q}_scale") is None,   rf"tensor {Q[6:]}_scale: missing; expected the scale of {Q}, one number"),
    (_put(f"{Q}_scale", np.ones(2, np.float32)),          r"weight_scale: shape \[2\]; expected the scale"),
    (_put(Q, np.zeros((32, 32), np.float32)), r"q_proj.weight: type F32; expected U8 .*\nhint: quantization_mode online"),
    (_put(Q, np.zeros((9, 32), np.uint8)),                r"q_proj.weight: shape \[36, 32\]; expected \[32, 32\]"),
    (_put(f"{Q}_scale", np.zeros(1, np.float32)),         r"weight_scale: 0.0; expected a positive scale"),
    (_put(f"{Q}_scale", np.full(1, np.nan, np.float32)),  r"weight_scale: element \[0, 0\] is nan"),
    (_put(Q, np.full((8, 32), 0b01110101, np.uint8)),     r"q_proj.weight: code 3 at \[16, 0\]; expected 0, 1 or 2"),
]


@pytest.mark.parametrize(("change", "message"), PACKED, ids=[message[:50] for _, message in PACKED])
def test_bad_packing(change: Change, message: str, folder: Path) -> None:
    tensors = packed()
    made.write_hf(folder, tensors, **BITNET)
    load(folder).check_weights()
    change(tensors)
    save_file(tensors, folder / MODEL)
    with pytest.raises(ModelError, match=message):
        load(folder).check_weights()


# ------------------------------------------------------------------------------------------------ tokenizer


def write_tokenizer(path: Path, size: int) -> None:
    Library(models.WordLevel({f"w{number}": number for number in range(size)}, unk_token="w0")).save(str(path))


def test_tokenizer_in_the_directory(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"expected tokenizer\.json or tokenizer\.model in this directory\nhint: .* --tokenizer F"):
        need_tokenizer(load(folder))
    write_tokenizer(folder / "tokenizer.json", 290)           # a few rows of padding
    assert need_tokenizer(load(folder)).encode("w7") == [7]
    assert need_tokenizer(load(folder, folder / "tokenizer.json")).size == 290


def test_tokens_that_tokenizer_model_lacks_are_said(folder: Path) -> None:
    """Added ones, in either place where they may stand, and only where no tokenizer.json has them."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "text").write_text("a cat sat on a mat\n" * 50)
    sentencepiece.SentencePieceTrainer.train(input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), vocab_size=280,
                                             byte_fallback=True, model_type="bpe", minloglevel=2, hard_vocab_limit=False)
    assert load(folder).notes == ()
    size = need_tokenizer(load(folder)).size
    (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": size + 1, "<s>": 1}))
    decoder = {str(size): {"content": "<|im_start|>", "special": True}, "2": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "added_tokens_decoder": decoder}))
    note, = load(folder).notes
    assert "tokenizer.model does not have" in note and "<|im_start|>, <|im_end|>;" in note and "</s>" not in note
    (folder / "added_tokens.json").write_text(json.dumps({f"<{number}>": size + number for number in range(1, 9)}))
    assert "<|im_start|>, <1>, <2>, <3> and 5 more;" in load(folder).notes[0]
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"300": 5}}))
    with pytest.raises(ModelError, match=r"tokenizer_config.json: error: added_tokens_decoder.300: 5; expected an object"):
        load(folder)
    write_tokenizer(folder / "tokenizer.json", 290)
    assert load(folder).notes == ()


@pytest.mark.parametrize("size", [200, 301])
def test_tokenizer_of_another_model(size: int, folder: Path) -> None:
    write_tokenizer(folder / "tokenizer.json", size)
    with pytest.raises(ModelError, match=rf"tokenizer: {size} pieces; expected the model's vocabulary of 300"):
        load(folder)


def test_tokenizer_that_is_a_directory(folder: Path) -> None:
    with pytest.raises(ModelError, match="tokenizer: a directory; expected a tokenizer file"):
        load(folder, folder)
