"""Hugging Face directories: config.json, safetensors, tokenizer.json or tokenizer.model.

The family of the model says which tensor has which role (families/). A tensor without a role in this configuration is refused.
BitNet's ternary matrices stay codes and a scale.

tie_word_embeddings says that the head is the embedding. The files then have one of the two, under either name. If they have both
and these differ, the head is used as it is. Source: transformers, modeling_utils.py, tie_weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compiler.errors import ModelError, shown
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.families import CLASSES
from compiler.frontends.hf_config import Quantisation, read_config
from compiler.frontends.options import Options
from compiler.frontends.shards import Stored, open_shards, read_json, refuse_dtype
from compiler.model.model import LINEARS, Config, Model, check_shape, check_vocabulary, roles
from compiler.model.tensors import F32, AbsmeanTensor, Codes, FileTensor, FloatTensor, Tensor
from compiler.model.tokenizer import JsonTokenizer, SentencePieceTokenizer, Tokenizer
from isa.hints import nearest

FLOATS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
COMPARED = 1 << 24                              # bytes of two tensors that are compared at once


def load(directory: Path, tokenizer: Tokenizer | None = None) -> Model:
    """A model from a directory. Raises ModelError for whatever is missing, damaged or not supported."""
    file = directory / "config.json"
    if not file.is_file():
        raise ModelError(directory, "", got="no config.json", expected="a Hugging Face model directory")
    options = Options(file, read_json(file))
    config, quantisation = read_config(file, options)
    stored = {name.removeprefix("model."): tensor for name, tensor in open_shards(directory).items()}
    if config.tied:
        config = _heads(config, stored, options.notes)
    generation = directory / "generation_config.json"
    if generation.is_file():
        config = replace(config, stop=config.stop | Options(generation, read_json(generation)).tokens("eos_token_id"))
    tokenizer = tokenizer or find_tokenizer(directory, config, options.notes)
    if tokenizer:
        check_vocabulary(config, tokenizer, tokenizer.file)
    return Model(directory, config, _tensors(directory, config, quantisation, stored), tokenizer, tuple(options.notes))


def find_tokenizer(directory: Path, config: Config, notes: list[str]) -> Tokenizer | None:
    """The tokenizer of a directory, or None if there is none that we can read."""
    if (directory / "tokenizer.json").is_file():
        return JsonTokenizer.from_file(directory / "tokenizer.json", config.bos)
    if (directory / "tokenizer.model").is_file():
        file = directory / "tokenizer_config.json"
        settings = Options(file, read_json(file) if file.is_file() else {})
        tokenizer = SentencePieceTokenizer(directory / "tokenizer.model", add_bos=settings.flag("add_bos_token", True))
        if unknown := [token for token, number in _added(directory, settings) if number >= tokenizer.size]:
            shown_ones = ", ".join(unknown[:4]) + (f" and {len(unknown) - 4} more" if len(unknown) > 4 else "")
            notes.append(f"tokens that tokenizer.model does not have are neither found in a text nor printed: {shown_ones}; "
                         "with a tokenizer.json they are")
        return tokenizer
    return None


def _added(directory: Path, settings: Options) -> list[tuple[str, int]]:
    """Tokens that were added to a tokenizer.model, in the two places where transformers has kept them."""
    file = directory / "added_tokens.json"
    added = dict(read_json(file)) if file.is_file() else {}
    decoder = settings.table("added_tokens_decoder")
    added |= {str(decoder.table(number).values.get("content")): int(number) for number in decoder.values if number.isdecimal()}
    return sorted(((token, number) for token, number in added.items() if isinstance(number, int)),
                  key=lambda item: item[1])


# ------------------------------------------------------------------------------------------------ tensors by role


def _heads(c: Config, stored: dict[str, Stored], notes: list[str]) -> Config:
    """The configuration of a tied model. It becomes untied if the files have a head that is not equal to the embedding.

    `stored` has the embedding afterwards, and no head that is equal to it.
    """
    names = CLASSES[c.architecture].hf
    embedding, head = names.of("embedding"), names.of("head")
    if head not in stored:
        return c
    if embedding not in stored:
        stored[embedding] = stored.pop(head)
        return c
    if _same(stored[embedding], stored[head]):
        del stored[head]
        return c
    notes.append(f"tie_word_embeddings is true, and {stored[head].name} differs from the embedding: it is used, as in transformers")
    return replace(c, tied=False)


def _same(one: Stored, other: Stored) -> bool:
    """Whether two tensors are equal bit by bit. Reads until they differ."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(np.array_equal(one.where.read(at, size), other.where.read(at, size))
               for at in range(0, one.where.size, COMPARED) for size in (min(COMPARED, one.where.size - at),))


def _tensors(directory: Path, c: Config, quantisation: Quantisation | None, stored: dict[str, Stored]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    names, used = CLASSES[c.architecture].hf, set()
    for role, shape in roles(c):
        name = names.of(role)
        if name not in stored:
            raise ModelError(directory, f"tensor {name}", got="missing", expected=f"{shown(shape)}, for {role}",
                             hint="config.json does not say that the head is the embedding (tie_word_embeddings)"
                             if role == "head" else nearest(name, stored))
        used.add(name)
        if quantisation and quantisation.packed and role.rpartition(".")[2] in LINEARS:
            scale = name.replace(".weight", ".weight_scale")
            used.add(scale)
            tensor: Tensor = _packed(stored[name], stored.get(scale), scale, inverse=quantisation.inverse)
        else:
            tensor = _float(stored[name])
            if quantisation and role.rpartition(".")[2] in LINEARS:
                tensor = AbsmeanTensor(tensor.name, tensor.shape, WEIGHT_FORMATS["t2"], source=tensor)
        tensors[role] = check_shape(tensor, shape, role)
    for name in stored.keys() - used:
        if not name.endswith(names.others):
            raise ModelError(stored[name].where.file, f"tensor {stored[name].name}", got="not a part of the model",
                             expected=f"the tensors of {c.architecture} as config.json describes it",
                             hint="an option of config.json may be wrong, such as a bias")
    return tensors


def module_name(c: Config, role: str) -> str:
    """The module of transformers that has the tensor of a layer's role: model.layers.3.self_attn.q_proj."""
    return f"model.{CLASSES[c.architecture].hf.of(role)}".rpartition(".")[0]


def _float(stored: Stored) -> FloatTensor:
    if stored.dtype not in FLOATS:
        raise refuse_dtype(stored, tuple(FLOATS), "packed BitNet weights need quantization_config in config.json"
                           if stored.dtype == "U8" else "convert the checkpoint to bfloat16 or float32")
    return FloatTensor(stored.name, stored.shape, WEIGHT_FORMATS[FLOATS[stored.dtype]], where=stored.where)


def _packed(stored: Stored, scale: Stored | None, scale_name: str, *, inverse: bool) -> PackedTernary:
    if stored.dtype != "U8" or len(stored.shape) != 2:
        raise refuse_dtype(stored, ("U8 (rows / 4, cols), four ternary codes to a byte",),
                           "quantization_mode online is for weights that are not packed")
    if scale is None or math.prod(scale.shape) != 1:
        raise ModelError(stored.where.file, f"tensor {scale_name}", expected=f"the scale of {stored.name}, one number",
                         got="missing" if scale is None else f"shape {shown(scale.shape)}")
    shape = (stored.shape[0] * 4, stored.shape[1])
    return PackedTernary(stored.name, shape, WEIGHT_FORMATS["t2"], where=stored.where, scale=_float(scale), inverse=inverse)


# ------------------------------------------------------------------------------------------------ BitNet's matrices


@dataclass(frozen=True, kw_only=True)
class PackedTernary(FileTensor):
    """Four rows in one: bits 2i+1..2i of byte (r, c) are 1 + the code of row i * rows/4 + r, column c. One scale for all.

    Source: transformers, integrations/bitnet.py, pack_weights.
    """

    scale: FloatTensor
    inverse: bool

    @cached_property
    def _scale(self) -> F32:
        scale = self.scale.rows().reshape(1, 1)
        if scale[0, 0] <= 0:
            raise ModelError(self.file, f"tensor {self.scale.name}", got=str(scale[0, 0]), expected="a positive scale")
        return (np.float32(1) / scale) if self.inverse else scale

    def _codes(self, first: int, last: int) -> Codes:
        rows, cols = self.matrix
        quarter = rows // 4
        values = np.empty((last - first, cols), np.int8)
        for part in range(first // quarter, -(-last // quarter) if last > first else 0):
            start, end = max(first, part * quarter), min(last, (part + 1) * quarter)
            packed = self.where.read((start - part * quarter) * cols, (end - start) * cols).reshape(-1, cols)
            codes = packed >> np.uint8(2 * part) & np.uint8(3)
            if (codes == 3).any():
                row, col = np.argwhere(codes == 3)[0]
                raise ModelError(self.file, f"tensor {self.name}", got=f"code 3 at [{start + row}, {col}]",
                                 expected="0, 1 or 2", hint="the weights are damaged, or not BitNet's")
            values[start - first:end - first] = codes.astype(np.int8) - np.int8(1)
        return Codes(values, self._scale, cols)
