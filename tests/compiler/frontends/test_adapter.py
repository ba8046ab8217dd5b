"""--adapter: LoRA in PEFT's files, merged element by element; under the zeros of a pruned base; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest
import stored_files as packed
import tiny_checkpoint
from safetensors.numpy import load_file, save_file

from compiler.errors import ModelError
from compiler.frontends import load
from compiler.frontends.adapter import with_adapter
from slimulator import invoke

RANK = 3
LAYER = "model.layers.1.self_attn.q_proj"
ADAPTED = {LAYER: "layers.1.q", "model.layers.0.mlp.down_proj": "layers.0.down", "lm_head": "head"}
RNG = np.random.default_rng(2)


def write_adapter(folder: Path, tensors: dict[str, np.ndarray], **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({f"base_model.model.{name}": array for name, array in tensors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"],
        "bias": "none", "lora_dropout": 0.1, "fan_in_fan_out": False, "init_lora_weights": True, **options}))
    return folder


def pair(module: str, rows: int, cols: int, rank: int = RANK) -> dict[str, np.ndarray]:
    return {f"{module}.lora_A.weight": RNG.standard_normal((rank, cols)).astype(np.float32),
            f"{module}.lora_B.weight": RNG.standard_normal((rows, rank)).astype(np.float32)}


def pairs() -> dict[str, np.ndarray]:
    return pair(LAYER, 32, 32) | pair("model.layers.0.mlp.down_proj", 32, 48) | pair("lm_head", 300, 32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return made.write_hf(tmp_path / "base", made.hf_tensors(made.weights()))


@pytest.mark.parametrize(("options", "ranks", "scales"), [
    ({}, {}, {}),
    ({"use_rslora": True}, {}, {LAYER: 16 / 3 ** 0.5, "lm_head": 16 / 3 ** 0.5, "model.layers.0.mlp.down_proj": 16 / 3 ** 0.5}),
    ({"rank_pattern": {"q_proj": 5}, "alpha_pattern": {".*down_proj": 4}}, {LAYER: 5},
     {LAYER: 16 / 5, "model.layers.0.mlp.down_proj": 4 / 3}),
    ({"lora_alpha": 8, "rank_pattern": {"layers.1.self_attn.q_proj": 2}}, {LAYER: 2},
     {LAYER: 4, "lm_head": 8 / 3, "model.layers.0.mlp.down_proj": 8 / 3}),
])
def test_merged(options: dict[str, Any], ranks: dict[str, int], scales: dict[str, float], base: Path, tmp_path: Path) -> None:
    tensors = pairs()
    for module, rank in ranks.items():
        tensors |= pair(module, 32, 32, rank)
    model = load(base)
    merged = with_adapter(model, write_adapter(tmp_path / "a", tensors, **options))
    for module, role in ADAPTED.items():
        scale = scales.get(module, 16 / RANK)
        low, high = (tensors[f"{module}.lora_{part}.weight"].astype(np.float64) for part in "AB")
        expected = model.tensor(role).rows() + (scale * (high @ low)).astype(np.float32)
        assert np.allclose(merged.tensor(role).rows(), expected, rtol=1e-6, atol=1e-6) and merged.tensor(role).stored == "f32"
        assert np.array_equal(merged.tensor(role).rows(5, 9), merged.tensor(role).rows()[5:9])
        assert np.abs(expected - model.tensor(role).rows()).max() > 1
    assert {role for role in model.tensors if merged.tensors[role] is not model.tensors[role]} == set(ADAPTED.values())
    assert merged.notes[-1] == f"{tmp_path / 'a'}: 3 matrices merged"


def test_zeros_of_a_pruned_base_stay(base: Path, tmp_path: Path) -> None:
    """A sixteenth of zeros makes a matrix a pruned one. Fewer do not."""
    stored = load_file(base / "model.safetensors")
    weight = stored[f"{LAYER}.weight"]
    weight.reshape(-1)[::2] = 0
    stored["lm_head.weight"][:5, 0] = 0
    save_file(stored, base / "model.safetensors")
    model = load(base)
    merged = with_adapter(model, write_adapter(tmp_path / "a", pairs()))
    rows = merged.tensor("layers.1.q").rows()
    assert np.array_equal(rows == 0, weight == 0) and (rows != weight).any()
    assert (merged.tensor("head").rows()[:5, 0] != 0).all()


def test_quantised_base(tmp_path: Path) -> None:
    tensors = made.hf_tensors(made.weights())
    del tensors[f"{LAYER}.weight"]
    tensors |= packed.gptq(LAYER, np.full((32, 32), 9), np.full((32, 1), 8), np.ones((32, 1), np.float16), 4)
    made.write_hf(tmp_path, tensors, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": -1})
    with pytest.raises(ModelError, match=r"--adapter: an adapter of \S*, which is quantised \(i4:32\); .*\nhint: merge it"):
        with_adapter(load(tmp_path), write_adapter(tmp_path / "a", pairs()))


BAD: list[tuple[dict[str, np.ndarray] | None, dict[str, Any], str]] = [
    (None, {"peft_type": "LOHA"},              r"adapter_config.json: error: peft_type: 'LOHA'; expected LORA"),
    (None, {"r": 0},                           r"r: 0; expected a positive whole number"),
    (None, {"lora_alpha": None},               r"lora_alpha: None; expected a number"),
    (None, {"use_dora": True},                 r"use_dora: True; expected false\nhint: merge it with peft"),
    (None, {"bias": "all"},                    r"bias: 'all'; expected none"),
    (None, {"modules_to_save": ["lm_head"]},   r"modules_to_save: .*; expected none"),
    (None, {"init_lora_weights": "pissa"},     r"init_lora_weights: 'pissa'; expected .*\nhint: others change the base model"),
    (None, {"trainable_token_indices": [1]},   r"trainable_token_indices: unknown option"),
    (None, {"r": 4},                           r"lora_A.weight: shape \[3, \d+\]; expected \[4, \d+\], rank 4 for"),
    (pair("model.layers.9.self_attn.q_proj", 32, 32), {}, r"no matrix of the model has this adapter; .*\nhint: did you mean"),
    (pair("model.embed_tokens", 300, 32), {},  r"embed_tokens.lora_A.weight: no matrix of the model has this adapter"),
    ({"lm_head.weight": np.ones((2, 2), np.float32)}, {}, r"lm_head.weight: no matrix of the model has this adapter"),
    (pair(LAYER, 31, 32), {},                  r"q_proj.lora_B.weight: shape \[31, 3\]; expected \[32, 3\]"),
    ({f"{LAYER}.lora_A.weight": np.ones((3, 32), np.float32)}, {}, r"lora_B.weight: missing; expected rank 3"),
    ({f"{LAYER}.lora_B.weight": np.ones((32, 3), np.float32)}, {}, r"lora_A.weight: missing; expected the other half of"),
    (pair(LAYER, 32, 32) | {f"{LAYER}.lora_A.weight": np.ones((3, 32), np.int32)}, {}, r"lora_A.weight: type I32; expected F32"),
]


@pytest.mark.parametrize(("tensors", "options", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_refused(tensors: dict[str, np.ndarray] | None, options: dict[str, Any], message: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        with_adapter(load(base), write_adapter(tmp_path / "a", pairs() if tensors is None else tensors, **options))


def test_damaged_and_missing_files(base: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", pairs())
    whole = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(whole[:-9])
    with pytest.raises(ModelError, match=r"adapter_model.safetensors: error: \d+ bytes that are not a safetensors file"):
        with_adapter(load(base), folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"--adapter: no adapter_model.safetensors, but adapter_model.bin; expected a PEFT"):
        with_adapter(load(base), folder)
    with pytest.raises(ModelError, match=r"--adapter: no adapter_config.json"):
        with_adapter(load(base), tmp_path)
    (tmp_path / "l").mkdir()
    file = tiny_checkpoint.write_checkpoint(tmp_path / "l")
    with pytest.raises(ModelError, match=r"tiny.bin: error: --adapter: not a Hugging Face directory"):
        with_adapter(load(file), write_adapter(tmp_path / "b", pairs()))


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that reads a model merges it; an adapter that changes is another program."""
    model = str(tiny_checkpoint.write_relu(tmp_path))
    text = tmp_path / "text.txt"
    text.write_text("a cat sat on a mat. a dog ran and ran.")
    module = "model.layers.0.mlp.down_proj"
    folder = write_adapter(tmp_path / "a", pair(module, tiny_checkpoint.DIM, tiny_checkpoint.HIDDEN))
    flags = ["--adapter", str(folder)]
    texts = []
    for more in ([], flags):
        assert invoke(["generate", model, "a cat", "-n", "8", "--quiet", *more]) == 0
        texts.append(capsys.readouterr().out)
    write_adapter(folder, pair(module, tiny_checkpoint.DIM, tiny_checkpoint.HIDDEN))
    assert invoke(["generate", model, "a cat", "-n", "8", "--quiet", *flags]) == 0
    texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 3
    scores = []
    for more in ([], flags):
        assert invoke(["eval", model, str(text), "--tokens", "12", "--json", str(tmp_path / "e.json"), *more]) == 0
        scores.append(json.loads((tmp_path / "e.json").read_text()))
    assert scores[0]["bits_per_byte"] != scores[1]["bits_per_byte"] and scores[1]["kl_divergence"] < 1e-6
    capsys.readouterr()
    assert invoke(["compile", model, "-o", str(tmp_path / "m.elf"), *flags]) == 0
    assert "note: " in (said := capsys.readouterr().err) and "1 matrix merged" in said
    assert invoke(["verify", model, "--prompt", "a cat", "--tokens", "4", *flags]) == 0
    assert "transformers reads no adapter" in capsys.readouterr().out
    assert invoke(["generate", str(tmp_path / "m.elf"), "a cat", *flags]) == 1
    assert "--adapter: a compiled program" in capsys.readouterr().err
