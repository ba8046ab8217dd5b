"""GGUF files of the architectures llama, qwen2, qwen3 and bitnet. Container and blocks are read by the library gguf.

The rows of q and k of a "llama" are permuted so that rope turns neighbours (2i, 2i+1); the others turn (i, i + head_dim / 2).
"bitnet" is BitNet b1.58 as llama.cpp knows it, with silu; "bitnet-b1.58" and its older name "bitnet-25" are Microsoft's, with relu
squared. Both have sub-norms. Their linears, if ternary, read int8 activations, as the models were trained.
A file without output.weight has its embedding as head.
Source: gguf-py, constants.py; llama.cpp, convert_hf_to_gguf.py (permute), src/models/llama.cpp, qwen2.cpp, qwen3.cpp and
bitnet.cpp; BitNet, 3rdparty/llama.cpp (build_bitnet_158).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType

from compiler.errors import ModelError, one_of, shown
from compiler.frontends.families import hint
from compiler.frontends.gguf_blocks import FORMATS, I2_S, BlockTensor, I2STensor, i2_s_bytes, row_bytes, type_name
from compiler.frontends.gguf_tokenizer import read_tokenizer
from compiler.frontends.options import Allowed, Options
from compiler.model.model import (
    Config,
    Model,
    Rope,
    check_config,
    check_head_dim,
    check_shape,
    check_vocabulary,
    roles,
    rope_frequencies,
)
from compiler.model.tensors import F32, TERNARY, Region, Tensor
from compiler.model.tokenizer import Tokenizer
from isa.hints import nearest


@dataclass(frozen=True)
class Architecture:
    """What an architecture is beyond a Llama."""

    adjacent: bool = False
    qk_norm: bool = False
    sub_norms: bool = False
    activation: str = "silu"
    rope_factors: bool = False          # rope_freqs.weight divides the frequencies


ARCHITECTURES = {
    "llama":        Architecture(adjacent=True, rope_factors=True),
    "qwen2":        Architecture(),
    "qwen3":        Architecture(qk_norm=True),
    "bitnet":       Architecture(sub_norms=True),
    "bitnet-b1.58": Architecture(sub_norms=True, activation="relu2"),
    "bitnet-25":    Architecture(sub_norms=True, activation="relu2"),
}

NAMES = {                               # role.bias is NAME.bias, else NAME.weight
    "embedding": "token_embd", "final_norm": "output_norm", "head": "output",
    "attention_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
    "attention_sub_norm": "attn_sub_norm", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
    "ffn_sub_norm": "ffn_sub_norm",
}
FIELDS = {"vocab": "vocab_size", "dim": "embedding_length", "layers": "block_count", "heads": "attention.head_count",
          "kv_heads": "attention.head_count_kv", "hidden": "feed_forward_length", "context": "context_length",
          "eps": "attention.layer_norm_rms_epsilon", "head_dim": "attention.key_length", "rope": "rope.freq_base"}
LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
FACTORS = "rope_freqs.weight"
ALLOWED: dict[str, Allowed] = {
    "attention.causal":    Allowed(lambda v: v is True, "true", "attention to later tokens is not supported"),
    "logit_scale":         Allowed(lambda v: v in (0, 1), "1", "scaled logits are not supported"),
    "residual_scale":      Allowed(lambda v: v in (0, 1), "1", "scaled residuals are not supported"),
    "embedding_scale":     Allowed(lambda v: v in (0, 1), "1", "scaled embeddings are not supported"),
    "rope.scaling.attn_factor":      Allowed(lambda v: v in (0, 1), "1", "scaled attention is not supported"),
    "rope.scaling.yarn_attn_factor": Allowed(lambda v: v in (0, 1), "1", "scaled attention is not supported"),
    "rope.scaling.yarn_ext_factor":  Allowed(lambda v: v in (-1, 0), "0", "yarn is not supported"),
}
"""Keys that change the model: with these values it is still what we compute. 0 of a factor says none, as in llama.cpp."""
HARMLESS = frozenset((
    "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_log_multiplier", "attention.layer_norm_epsilon", "expert_weights_scale",
    "expert_weights_norm", "expert_gating_func", "decoder_start_token_id"))
"""Book-keeping, and figures of what is refused where it is in use: other norms, other kinds of rope scaling, experts."""


class _Reader(GGUFReader):
    """The library's reader, with another way to take numbers from the file.

    Its own takes what a truncated file has left for the whole of a field, and makes several arrays of each element of a list:
    ten seconds for the 500,000 of a large vocabulary. Here a list of numbers is one array, a string a piece of the mapping.
    """

    def _get(self, offset: int, dtype: npt.DTypeLike, count: int = 1, override_order: Any = None) -> npt.NDArray[Any]:
        try:
            found: npt.NDArray[Any] = np.frombuffer(self.data.data, dtype, int(count), int(offset))
        except (ValueError, OverflowError):
            raise ValueError(f"the file ends within a field at byte {offset}") from None
        order = override_order or self.byte_order
        return found if order == "I" else found.view(found.dtype.newbyteorder(order))

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        head: list[Any] = [self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)]
        kind, count, start = GGUFValueType(int(head[0][0])), int(head[1][0]), orig_offs + 12
        if kind == GGUFValueType.STRING:
            parts, end = self._strings(start, count)
        else:
            parts = [self._get(start, self.gguf_scalar_to_np[kind], count)]
            end = start + parts[0].nbytes
        return end - orig_offs, head + parts, list(range(2, 2 + len(parts))), [GGUFValueType.ARRAY, kind]

    def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
        """Name, shape, type and place of each tensor. The library's own stumbles over types that it does not know."""
        self.heads: list[tuple[str, tuple[int, ...], int, int]] = [
            (str(bytes(name), "utf-8"), tuple(int(size) for size in reversed(shape)), int(kind[0]), int(start_offs) + int(at[0]))
            for _, name, _, shape, kind, at in (field.parts for field in fields)]

    def _strings(self, at: int, count: int) -> tuple[list[Any], int]:
        """Strings as views of the file, and where they end: uint64 length, bytes."""
        data, parts = self.data.data, []
        for _ in range(count):
            if at + 8 > len(data) or (end := at + 8 + int.from_bytes(data[at:at + 8], "little")) > len(data):
                raise ValueError(f"the file ends within a string at byte {at}")
            parts.append(data[at + 8:end])
            at = end
        return parts, at


@dataclass(frozen=True)
class _Contents:
    """What we keep of a file: metadata by key, and where tensors lie."""

    file: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Any]:
        """Metadata whose keys begin with `prefix`, without it."""
        return {key.removeprefix(prefix): value for key, value in self.metadata.items() if key.startswith(prefix)}


def load(path: Path, tokenizer: Tokenizer | None = None) -> Model:
    """A model from a .gguf. Raises ModelError for whatever is damaged or not supported."""
    contents = _open(path)
    general = Options(path, contents.part("general."), "general.")
    name = general.values.get("architecture")
    if name not in ARCHITECTURES:
        raise general.error("architecture", expected=one_of(ARCHITECTURES), hint=hint(str(name), ARCHITECTURES))
    if contents.metadata.get("split.count", 1) != 1:
        raise ModelError(path, "split.count", got=str(contents.metadata["split.count"]), expected="1: a whole model in one file",
                         hint="join the parts with llama-gguf-split --merge")
    notes: list[str] = []
    config = _config(contents, name, ARCHITECTURES[name], notes)
    tokenizer = tokenizer or read_tokenizer(path, contents.part("tokenizer.ggml."), notes)
    if tokenizer:
        check_vocabulary(config, tokenizer, tokenizer.file)
    return Model(path, config, _tensors(contents, config), tokenizer, tuple(notes))


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a .gguf alone."""
    tokenizer = read_tokenizer(path, _open(path).part("tokenizer.ggml."))
    if tokenizer is None:
        raise ModelError(path, "tokenizer.ggml.model", got="missing", expected="a GGUF file with a tokenizer in it")
    return tokenizer


def _open(path: Path) -> _Contents:
    try:
        reader = _Reader(path)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
    except OSError:
        raise
    except Exception as error:      # whatever the library stumbles over
        raise _damaged(path, error) from None
    if reader.endianess != GGUFEndian.LITTLE:
        raise ModelError(path, "", got="a big-endian file", expected="a little-endian one")
    tensors: dict[str, Tensor] = {}
    for name, shape, kind, offset in reader.heads:
        if name in tensors:
            raise ModelError(path, f"tensor {name}", got="there twice", expected="different names", hint="the file is damaged")
        tensors[name] = _tensor(path, name, shape, kind, offset)
    return _Contents(path, metadata, tensors)


def _tensor(path: Path, name: str, shape: tuple[int, ...], number: int, offset: int) -> Tensor:
    """Where a tensor lies. Raises ModelError for a type that is not read, a shape that it does not have, and a file that ends."""
    kind, place = type_name(number), f"tensor {name}"
    if number not in FORMATS and number != I2_S:
        known = number in GGMLQuantizationType.__members__.values()
        raise ModelError(path, place, got=f"type {kind}", expected=one_of((*(form.name for form in FORMATS), type_name(I2_S))),
                         hint="convert it with llama-quantize" if known else "no type of ggml's: another program wrote this file")
    size = None
    if len(shape) in (1, 2) and 0 not in shape:
        size = i2_s_bytes(shape) if number == I2_S else row_bytes(GGMLQuantizationType(number), shape[-1])
    if size is None:
        raise ModelError(path, place, got=f"shape {shown(shape)} of {kind}", expected="a vector or matrix of whole blocks")
    region = Region(path, offset, size if number == I2_S or len(shape) == 1 else shape[0] * size)
    if region.offset + region.size > path.stat().st_size:
        raise _damaged(path, f"it ends within {place}")
    if number == I2_S:
        return I2STensor(name, shape, "i2_s", TERNARY, region=region)
    form = GGMLQuantizationType(number)
    return BlockTensor(name, shape, kind.lower(), FORMATS[form].levels, kind=form, region=region)


def _damaged(path: Path, what: object) -> ModelError:
    return ModelError(path, "", got=f"a damaged GGUF file: {what}", expected="a whole one of version 2 or 3",
                      hint="a truncated download? Download it again")


# ------------------------------------------------------------------------------------------------ configuration


def _config(contents: _Contents, name: str, a: Architecture, notes: list[str]) -> Config:
    options = Options(contents.file, contents.part(f"{name}."), f"{name}.")
    dim, heads = options.size("embedding_length"), options.size("attention.head_count")
    head_dim = options.whole("attention.key_length")
    if head_dim is None:
        if dim % heads:
            raise options.error("attention.head_count", expected=f"a divisor of embedding_length, {dim}")
        head_dim = dim // heads
    check_head_dim(head_dim, contents.file, f"{name}.attention.key_length")
    if options.whole("attention.value_length", head_dim) != head_dim or options.whole("rope.dimension_count", head_dim) != head_dim:
        raise options.error("rope.dimension_count" if "rope.dimension_count" in options.values else "attention.value_length",
                            expected=f"{head_dim}, the size of a head of keys")
    scale = options.real("attention.scale", 0.0)                # 0 says none, as in llama.cpp
    if scale and not np.isclose(scale, head_dim ** -0.5, rtol=1e-6):
        raise options.error("attention.scale", expected=f"0, or one over the root of {head_dim}, the size of a head")
    for key in ("expert_count", "expert_used_count", "attention.sliding_window"):
        if options.whole(key, 0):
            raise options.error(key, expected="0 or absent: not supported")
    embedding = contents.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError(contents.file, "tensor token_embd.weight", got="missing", expected="the embedding")
    vocab = options.whole("vocab_size", embedding.matrix[0]) or 0
    tokens = Options(contents.file, contents.part("tokenizer.ggml."), "tokenizer.ggml.")
    stop = tokens.tokens("eos_token_id") | tokens.tokens("eot_token_id")
    config = Config(
        name, vocab, dim, options.size("block_count"), heads, options.whole("attention.head_count_kv", heads) or 0, head_dim,
        options.size("feed_forward_length"), options.size("context_length"), options.real("attention.layer_norm_rms_epsilon"),
        activation=a.activation, biases=frozenset(role for role in LINEARS if f"blk.0.{NAMES[role]}.bias" in contents.tensors),
        qk_norm=a.qk_norm, sub_norms=a.sub_norms, rope=_rope(contents, options, head_dim, a),
        tied="output.weight" not in contents.tensors, int8_activations=a.sub_norms and _ternary(contents),
        bos=tokens.whole("bos_token_id"), stop=stop)
    options.check_rest(HARMLESS, ALLOWED)
    notes += options.notes
    names = {field: f"{name}.{key}" for field, key in FIELDS.items()}
    check_config(config, contents.file, {**names, "bos": "tokenizer.ggml.bos_token_id", "stop": "tokenizer.ggml.eos_token_id"})
    return config


def _ternary(contents: _Contents) -> bool:
    """True if every matrix of the layers is."""
    return all(tensor.levels == TERNARY for tensor in contents.tensors.values()
               if tensor.name.startswith("blk.") and len(tensor.shape) == 2)


def _rope(contents: _Contents, options: Options, head_dim: int, a: Architecture) -> Rope:
    theta = options.real("rope.freq_base", 10000.0)
    if not 0 < theta < np.inf:
        raise options.error("rope.freq_base", expected="a positive number")
    frequencies: F32 = rope_frequencies(head_dim, theta)
    scaled = options.choice("rope.scaling.type", {"none": False, "linear": True}, "linear")
    factor = options.real("rope.scaling.factor", options.real("rope.scale_linear", 0.0))
    if factor < 0 or not np.isfinite(factor):
        raise options.error("rope.scaling.factor", expected="a positive number")
    if scaled:
        frequencies = frequencies / np.float32(factor or 1)     # 0 says none, as in llama.cpp
    if a.rope_factors and FACTORS in contents.tensors:
        factors = check_shape(contents.tensors[FACTORS], (head_dim // 2,), "factors of the frequencies").vector()
        if (factors <= 0).any():
            raise ModelError(contents.file, f"tensor {FACTORS}", got=str(factors.min()), expected="positive factors")
        frequencies = frequencies / factors
    return Rope(tuple(frequencies.tolist()), adjacent=a.adjacent)


# ------------------------------------------------------------------------------------------------ tensors by role


def _tensors(contents: _Contents, c: Config) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for role, shape in roles(c):
        name = _name(role)
        if name not in contents.tensors:
            raise ModelError(contents.file, f"tensor {name}", got="missing", expected=f"{shown(shape)}, for {role}",
                             hint=nearest(name, contents.tensors))
        tensors[role] = check_shape(contents.tensors[name], shape, role)
    used = {tensor.name for tensor in tensors.values()} | ({FACTORS} if ARCHITECTURES[c.architecture].rope_factors else set())
    for name in contents.tensors:
        if name not in used:
            raise ModelError(contents.file, f"tensor {name}", got="not a part of the model",
                             expected=f"the tensors of {c.architecture} as its metadata describes it")
    return tensors


def _name(role: str) -> str:
    """The file's name of a role: layers.3.q.bias is blk.3.attn_q.bias."""
    base, part = (role.removesuffix(".bias"), "bias") if role.endswith(".bias") else (role, "weight")
    if base.startswith("layers."):
        _, layer, kind = base.split(".")
        return f"blk.{layer}.{NAMES[kind]}.{part}"
    return f"{NAMES[base]}.{part}"
