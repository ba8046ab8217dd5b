"""GGUF files. The library gguf reads the container and the blocks; the family of the model says what is in it (families/).

Source: gguf-py; llama.cpp, convert_hf_to_gguf.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType

from compiler.errors import ModelError, one_of, shown
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.families import ARCHITECTURES
from compiler.frontends.family import Family
from compiler.frontends.gguf_blocks import FORMATS, I2_S, I2STensor, block_tensor, i2_s_bytes, row_bytes, type_name
from compiler.frontends.gguf_tokenizer import read_tokenizer
from compiler.frontends.options import Allowed, Options
from compiler.frontends.unsupported import hint
from compiler.model.model import Config, Model, check_config, check_shape, check_vocabulary, roles
from compiler.model.tensors import FileRange, Tensor
from compiler.model.tokenizer import Tokenizer
from isa.hints import nearest

ALLOWED: dict[str, Allowed] = {
    "attention.causal":    Allowed(lambda v: v is True, "true", "attention to later tokens is not supported"),
    "logit_scale":         Allowed(lambda v: v in (0, 1), "1", "scaled logits are not supported"),
    "residual_scale":      Allowed(lambda v: v in (0, 1), "1", "scaled residuals are not supported"),
    "embedding_scale":     Allowed(lambda v: v in (0, 1), "1", "scaled embeddings are not supported"),
    "rope.scaling.attn_factor":      Allowed(lambda v: v in (0, 1), "1", "scaled attention is not supported"),
    "rope.scaling.yarn_attn_factor": Allowed(lambda v: v in (0, 1), "1", "scaled attention is not supported"),
    "rope.scaling.yarn_ext_factor":  Allowed(lambda v: v in (-1, 0), "0", "yarn is not supported"),
}
"""Keys that change the model. With these values it is still a model that we compute. A factor of 0 says none, as in llama.cpp."""
HARMLESS = frozenset((
    "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_log_multiplier", "attention.layer_norm_epsilon", "expert_weights_scale",
    "expert_weights_norm", "expert_gating_func", "decoder_start_token_id"))
"""Book-keeping, and figures of things that another key would refuse: other norms, other kinds of rope scaling, experts."""


class _Reader(GGUFReader):
    """The library's reader, which takes numbers from the file in another way.

    The library reads a field that a truncated file has only in part as if it were whole. It makes several arrays for each element
    of a list, which takes ten seconds for a vocabulary of 500,000. Here a list of numbers is one array, and a string is a view of
    the file.
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
        """Name, shape, type and place of each tensor. The library's own method fails for types that it does not know."""
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
    family = ARCHITECTURES[name]
    notes: list[str] = []
    config = _config(contents, name, family, notes)
    tokenizer = tokenizer or read_tokenizer(path, contents.part("tokenizer.ggml."), notes)
    if tokenizer:
        check_vocabulary(config, tokenizer, tokenizer.file)
    return Model(path, config, _tensors(contents, config, family), tokenizer, tuple(notes))


def load_tokenizer(path: Path, notes: list[str] | None = None) -> Tokenizer:
    """The tokenizer of a .gguf alone. What was assumed goes to `notes`."""
    tokenizer = read_tokenizer(path, _open(path).part("tokenizer.ggml."), notes)
    if tokenizer is None:
        raise ModelError(path, "tokenizer.ggml.model", got="missing", expected="a GGUF file that contains a tokenizer")
    return tokenizer


def _open(path: Path) -> _Contents:
    try:
        reader = _Reader(path)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
    except OSError:
        raise
    except Exception as error:      # the library raises many kinds
        raise _damaged(path, error) from None
    if reader.endianess != GGUFEndian.LITTLE:
        raise ModelError(path, "", got="a big-endian file", expected="a little-endian one")
    tensors: dict[str, Tensor] = {}
    for name, shape, kind, offset in reader.heads:
        if name in tensors:
            raise ModelError(path, f"tensor {name}", got="duplicate", expected="different names", hint="the file is damaged")
        tensors[name] = _tensor(path, name, shape, kind, offset)
    return _Contents(path, metadata, tensors)


def _tensor(path: Path, name: str, shape: tuple[int, ...], number: int, offset: int) -> Tensor:
    """Where a tensor lies. Raises ModelError for a type that is not read, a shape that it does not have, and a file that ends."""
    kind, place = type_name(number), f"tensor {name}"
    if number not in FORMATS and number != I2_S:
        known = number in GGMLQuantizationType.__members__.values()
        raise ModelError(path, place, got=f"type {kind}", expected=one_of((*(form.name for form in FORMATS), type_name(I2_S))),
                         hint="convert it with llama-quantize" if known else "not a type of ggml: another program wrote this file")
    size = None
    if len(shape) in (1, 2) and 0 not in shape:
        size = i2_s_bytes(shape) if number == I2_S else row_bytes(GGMLQuantizationType(number), shape[-1])
    if size is None:
        raise ModelError(path, place, got=f"shape {shown(shape)} of {kind}", expected="a vector or matrix of whole blocks")
    where = FileRange(path, offset, size if number == I2_S or len(shape) == 1 else shape[0] * size)
    if where.offset + where.size > path.stat().st_size:
        raise _damaged(path, f"it ends within {place}")
    if number == I2_S:
        return I2STensor(name, shape, WEIGHT_FORMATS["t2"], where=where)
    return block_tensor(name, shape, GGMLQuantizationType(number), where)


def _damaged(path: Path, what: object) -> ModelError:
    return ModelError(path, "", got=f"a damaged GGUF file: {what}", expected="a whole one of version 2 or 3",
                      hint="a truncated download? Download it again")


# ------------------------------------------------------------------------------------------------ configuration


def _config(contents: _Contents, name: str, family: Family, notes: list[str]) -> Config:
    options = Options(contents.file, contents.part(f"{name}."), f"{name}.")
    config = family.gguf_config(name, options, contents.tensors)
    tokens = Options(contents.file, contents.part("tokenizer.ggml."), "tokenizer.ggml.")
    config = replace(config, bos=tokens.whole("bos_token_id"), stop=tokens.tokens("eos_token_id") | tokens.tokens("eot_token_id"))
    options.check_rest(HARMLESS, ALLOWED)
    notes += options.notes
    names = {field: f"{name}.{key}" for field, key in family.gguf.keys.items()}
    check_config(config, contents.file, {**names, "bos": "tokenizer.ggml.bos_token_id", "stop": "tokenizer.ggml.eos_token_id"})
    return config


# ------------------------------------------------------------------------------------------------ tensors by role


def _tensors(contents: _Contents, c: Config, family: Family) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for role, shape in roles(c):
        name = family.gguf.of(role)
        if name not in contents.tensors:
            raise ModelError(contents.file, f"tensor {name}", got="missing", expected=f"{shown(shape)}, for {role}",
                             hint=nearest(name, contents.tensors))
        tensors[role] = check_shape(contents.tensors[name], shape, role)
    used = {tensor.name for tensor in tensors.values()}
    for name in contents.tensors:
        if name not in used and not name.endswith(family.gguf.others):
            raise ModelError(contents.file, f"tensor {name}", got="not a part of the model",
                             expected=f"the tensors of {c.architecture} as its metadata describes it")
    return tensors
