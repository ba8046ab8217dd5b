"""Every family of models: its configuration, and one tiny checkpoint as Hugging Face directory and as GGUF.

Names are held against the table of the library gguf, and where it has none against those written here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import llama_files as made
import numpy as np
import pytest

from compiler.frontends import families, load
from compiler.frontends.families import ARCHITECTURES, CLASSES, FAMILIES, RENAMED
from compiler.frontends.family import Family
from compiler.frontends.hf_config import read_config
from compiler.frontends.options import Options
from compiler.graph import Executor, build
from compiler.model.model import Config, Model, roles

ROOT = Path(__file__).parents[3]
F32 = gguf.GGMLQuantizationType.F32

BITNET = {"tie_word_embeddings": True, "rope_theta": 500000.0}


class Tiny(NamedTuple):
    """A tiny model of a family, with the sizes of checkpoints.CONFIG."""

    file: str                           # in families/
    class_name: str
    architecture: str                   # in GGUF; "": none
    options: dict[str, Any]             # of config.json
    beyond: dict[str, Any]              # what its Config has that a Llama's of that size has not


TINY = [Tiny(*row) for row in (
    ("llama",   "LlamaForCausalLM",   "llama",        {"attention_bias": True, "mlp_bias": True},
     {"biases": frozenset(("q", "k", "v", "o", "gate", "up", "down"))}),
    ("mistral", "MistralForCausalLM", "llama",        {"sliding_window": None},                {}),
    ("mistral", "MistralForCausalLM", "",             {"sliding_window": 5},                   {"window": 5}),
    ("qwen",    "Qwen2ForCausalLM",   "qwen2",        {"sliding_window": 5},                   {"biases": frozenset("qkv")}),
    ("qwen",    "Qwen3ForCausalLM",   "qwen3",        {"head_dim": made.HEAD},                 {"qk_norm": True}),
    ("bitnet",  "BitNetForCausalLM",  "bitnet-b1.58", {**BITNET, "hidden_act": "relu2"},
     {"activation": "relu2", "sub_norms": True, "tied": True}),
    ("bitnet",  "BitNetForCausalLM",  "bitnet-25",    {**BITNET, "hidden_act": ...},
     {"activation": "relu2", "sub_norms": True, "tied": True}),
    ("bitnet",  "BitNetForCausalLM",  "bitnet",       BITNET,                                  {"sub_norms": True, "tied": True}),
    ("opt",     "OPTForCausalLM",     "",
     {"ffn_dim": made.HIDDEN, "word_embed_proj_dim": 16} | dict.fromkeys(
         ("intermediate_size", "num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_theta"), ...),
     {"kv_heads": 4, "norm": "layernorm", "activation": "relu", "gated": False, "rope": None, "learned_positions": 2,
      "biases": frozenset(("q", "k", "v", "o", "up", "down")), "embedding_dim": 16}),
)]
HAS_NO_MAP = {                          # names that the library does not know: Hugging Face, GGUF
    "model.layers.{}.self_attn.attn_sub_norm": "blk.{}.attn_sub_norm", "model.layers.{}.mlp.ffn_sub_norm": "blk.{}.ffn_sub_norm"}
OPT_NAMES = {                           # behind model.decoder. and the layer
    "embedding": "embed_tokens", "positions": "embed_positions", "project_in": "project_in", "project_out": "project_out",
    "final_norm": "final_layer_norm", "attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj", "up": "fc1",
    "down": "fc2"}


def name(tiny: Tiny) -> str:
    return f"{tiny.class_name}-{tiny.architecture}" if tiny.architecture else tiny.class_name


def config_of(class_name: str, options: dict[str, Any]) -> Config:
    values = {key: value for key, value in {**made.CONFIG, **options, "architectures": [class_name]}.items() if value is not ...}
    return read_config(Path("config.json"), Options(Path("config.json"), values))[0]


def logits(model: Model) -> np.ndarray:
    executor = Executor(build(model.config), model)
    return np.stack([executor.step(token) for token in (1, 40, 299, 7, 7)])


def in_neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k for rope of (2i, 2i + 1), from those for (i, i + head_dim / 2)."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def weights(config: Config) -> dict[str, np.ndarray]:
    """Random tensors by role. None is neutral: a tensor that is left out or taken for another changes the logits."""
    generator = np.random.default_rng(3)
    return {role: (generator.normal(0, 0.2, shape) + (role.endswith("norm"))).astype(np.float32) for role, shape in roles(config)}


def gguf_name(hf_name: str, architecture: str) -> str:
    """What the library calls a tensor in GGUF, from its name in Hugging Face files. It has one table for all kinds of BitNet."""
    base, part = hf_name.rsplit(".", 1)
    known = next(kind for kind, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture.partition("-")[0])
    _, _, after = base.partition("layers.")
    layer = after.partition(".")[0]
    other = HAS_NO_MAP.get(base.replace(f"layers.{layer}.", "layers.{}."), "").format(layer)
    return f"{other or gguf.get_tensor_name_map(known, made.LAYERS).get_name(base)}.{part}"


@pytest.mark.parametrize("tiny", TINY, ids=name)
def test_configuration(tiny: Tiny) -> None:
    """The Config of a Llama of this size, but for what makes the family."""
    options = tiny.options
    ours, llama = config_of(tiny.class_name, options), config_of("LlamaForCausalLM", {})
    if ours.rope and "rope_theta" in options:
        assert ours.rope.frequencies[1] == np.float32(options["rope_theta"] ** (-2 / made.HEAD))
    assert replace(ours, rope=llama.rope if ours.rope else None) == replace(llama, architecture=tiny.class_name, **tiny.beyond)


@pytest.mark.parametrize("tiny", [tiny for tiny in TINY if tiny.architecture], ids=name)
def test_the_same_model_from_both_kinds_of_files(tiny: Tiny, tmp_path: Path) -> None:
    _, class_name, architecture, options, _ = tiny
    config = config_of(class_name, options)
    theirs, ours = CLASSES[class_name].hf, ARCHITECTURES[architecture].gguf
    arrays = weights(config)
    hf_names = {role: theirs.of(role) if role == "head" else f"model.{theirs.of(role)}" for role in arrays}
    made.write_hf(tmp_path, {hf_names[role]: array for role, array in arrays.items()}, **{**options, "architectures": [class_name]})
    raw = {}
    for role, array in arrays.items():
        assert gguf_name(hf_names[role], architecture) == ours.of(role)
        heads = {"q": made.HEADS, "k": made.KV_HEADS}.get(role.removesuffix(".bias").rpartition(".")[2])
        raw[ours.of(role)] = in_neighbours(array, heads) if heads and architecture == "llama" else array, F32
    fields = {f"{architecture}.rope.freq_base": options.get("rope_theta", 10000.0)}
    path = made.write_gguf(tmp_path / "model.gguf", {}, architecture=architecture, raw=raw, fields=fields)
    before, after = logits(load(tmp_path)), logits(load(path))
    assert np.allclose(before, after, rtol=1e-5, atol=1e-5) and np.ptp(before, axis=1).min() > 0.1


def test_opt_by_its_names(tmp_path: Path) -> None:
    """A head of its own, layers 0 and 1 of other weights, a bias beside each norm and matrix."""
    _, class_name, _, options, _ = next(tiny for tiny in TINY if tiny.file == "opt")
    options = {**options, "tie_word_embeddings": False}
    config = config_of(class_name, options)
    arrays = weights(config)

    def hf_name(role: str) -> str:
        base, part = (role.removesuffix(".bias"), "bias") if role.endswith(".bias") else (role, "weight")
        layer, kind = re.fullmatch(r"(layers\.\d+\.)?(.+)", base).groups("")       # type: ignore[union-attr]
        return f"lm_head.{part}" if base == "head" else f"model.decoder.{layer}{OPT_NAMES[kind]}.{part}"

    made.write_hf(tmp_path, {hf_name(role): array for role, array in arrays.items()}, **{**options, "architectures": [class_name]})
    model = load(tmp_path)
    assert model.config == config and "layers.0.down.bias" in arrays
    for role, array in arrays.items():
        assert np.array_equal(model.tensor(role).rows().reshape(array.shape), array), role


# ------------------------------------------------------------------------------------------------ the checklist


def test_every_family_has_its_file_its_tests_and_its_line_in_the_manual() -> None:
    """Add a model family, as CONTRIBUTING.md has it."""
    files = {path.stem for path in Path(families.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {tiny.file for tiny in TINY}
    defined = [value for file in sorted(files) for value in vars(import_module(f"{families.__name__}.{file}")).values()
               if isinstance(value, Family)]
    assert [family for family in defined if not any(family is other for other in FAMILIES)] == []
    assert {tiny.class_name for tiny in TINY} == set(CLASSES) and {tiny.architecture for tiny in TINY} - {""} == set(ARCHITECTURES)
    assert len(CLASSES) == sum(bool(family.class_name) for family in FAMILIES)
    assert len(ARCHITECTURES) == sum(len(family.architectures) for family in FAMILIES)
    assert not set(RENAMED) & set(CLASSES)
    against_transformers = (ROOT / "tests/oracle/test_transformers.py").read_text(encoding="utf-8")
    manual = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    assert [class_name for class_name in CLASSES if f'("{class_name}", ' not in against_transformers] == []
    assert [known for known in (*CLASSES, *ARCHITECTURES) if f"`{known}`" not in manual] == []
