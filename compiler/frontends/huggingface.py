"""Hugging Face directories: config.json, safetensors, tokenizer.json or tokenizer.model.

The family of the model says which tensor has which role (families/). A tensor without a role in this configuration is refused.
Matrices may be quantised, sparse or masked (stored/). Quantised ones stay codes and scales.

tie_word_embeddings says that the head is the embedding. The files then have one of the two, under either name. If they have both
and these differ, the head is used as it is. Source: transformers, modeling_utils.py, tie_weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from compiler.errors import ModelError, shown
from compiler.frontends.families import CLASSES
from compiler.frontends.hf_config import read_config
from compiler.frontends.options import Options
from compiler.frontends.shards import Stored, open_shards, read_json
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS, float_tensor
from compiler.frontends.stored.masks import ORIGINAL, Archive, masked
from compiler.frontends.stored.monarch import UNSAID, stage_tensor
from compiler.frontends.stored.sparse import sparse_tensor
from compiler.frontends.stored.storage import Storage
from compiler.model.model import LINEARS, STAGES, Config, Model, check_shape, check_vocabulary, roles
from compiler.model.monarch import RIGHT
from compiler.model.tensors import FloatTensor, Tensor
from compiler.model.tokenizer import JsonTokenizer, SentencePieceTokenizer, Tokenizer
from isa.hints import nearest

COMPARED = 1 << 24                              # bytes of two tensors that are compared at once


def load(directory: Path, tokenizer: Tokenizer | None = None) -> Model:
    """A model from a directory. Raises ModelError for whatever is missing, damaged or not supported."""
    file = directory / "config.json"
    if not file.is_file():
        hint = "an int8 network: slimulator infer runs it, and verify checks it" if (directory / "network.json").is_file() else ""
        raise ModelError(directory, "", got="no config.json", expected="a Hugging Face model directory", hint=hint)
    options = Options(file, read_json(file))
    config, storage = read_config(file, options)
    stored = {name.removeprefix("model."): tensor for name, tensor in open_shards(directory).items()}
    if config.tied:
        config = _heads(config, stored, options.notes)
    config = _widths(config, stored, options.notes)
    generation = directory / "generation_config.json"
    if generation.is_file():
        config = replace(config, stop=config.stop | Options(generation, read_json(generation)).tokens("eos_token_id"))
    tokenizer = tokenizer or find_tokenizer(directory, config, options.notes)
    if tokenizer:
        check_vocabulary(config, tokenizer, tokenizer.file)
    tensors = _tensors(directory, config, storage, Files(directory, stored))
    return Model(directory, config, tensors, tokenizer, tuple(options.notes))


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


def _widths(c: Config, stored: dict[str, Stored], notes: list[str]) -> Config:
    """The configuration, with widths and heads of each layer where files have layers that differ, as pruning of whole neurons and
    heads leaves them. Raises ModelError for rows that make no whole heads."""
    names = CLASSES[c.architecture].hf

    def rows(role: str, usual: int) -> list[int]:
        found = [stored.get(names.of(f"layers.{layer}.{role}")) for layer in range(c.layers)]
        return [each.shape[0] if each and each.dtype in FLOATS and len(each.shape) == 2 else usual for each in found]

    queries, keys, widths = rows("q", c.q_dim), rows("k", c.kv_dim), rows("up", c.hidden)
    if len(set(queries)) > 1 or len(set(keys)) > 1:
        for layer, (q, k) in enumerate(zip(queries, keys, strict=True)):
            if q % c.head_dim or k % c.head_dim or not q or not k or q % k:
                at = stored[names.of(f"layers.{layer}.q")]
                raise ModelError(at.where.file, f"tensor {at.name}",
                                 expected=f"whole heads of {c.head_dim}, and those of keys a divisor",
                                 got=f"{q} rows of queries and {k} of keys, and {queries[0]} and {keys[0]} in layer 0")
        heads = tuple((q // c.head_dim, k // c.head_dim) for q, k in zip(queries, keys, strict=True))
        most, least = max(heads), min(heads)
        notes.append(f"layers have {least[0]} to {most[0]} heads")
        c = replace(c, heads=most[0], kv_heads=max(of_keys for _, of_keys in heads), layer_heads=heads)
    if len(set(widths)) > 1:
        notes.append(f"feed-forward layers have {min(widths):,} to {max(widths):,} neurons")
        c = replace(c, hidden=max(widths), widths=tuple(widths))
    return c


def _tensors(directory: Path, c: Config, storage: Storage | None, files: Files) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    names, masks = CLASSES[c.architecture].hf, Archive.of(directory)
    dense = {role: names.of(role) for role, shape in roles(c) if len(shape) == 2 and not role.endswith(STAGES)}
    masks.check(list(dense.values()) if masks.places else [])
    for role, shape in roles(c):
        if role.endswith(STAGES):
            tensors[role] = stage_tensor(files, names.of(role), role, shape, c.monarch)
            continue
        name, linear = names.of(role), role.rpartition(".")[2] in LINEARS and role.startswith("layers.")
        tensor = (storage and storage.tensor(files, name, shape, linear=linear)) or sparse_tensor(files, name, shape)
        tensor = check_shape(tensor or _float(files, name, role, shape), shape, role)
        tensors[role] = masked(files, masks, name, tensor) if role in dense else tensor
    for name in files.stored.keys() - files.used:
        if not name.endswith(names.others) and not (storage and storage.drop(files, name)):
            stored = files.stored[name]
            raise ModelError(stored.where.file, f"tensor {stored.name}", got="not a part of the model",
                             expected=f"the tensors of {c.architecture} as config.json describes it", hint=unused(name))
    return tensors


def _float(files: Files, name: str, role: str, shape: tuple[int, ...]) -> FloatTensor:
    """A tensor of plain floats, which torch's pruning calls NAME_orig."""
    if name not in files and name + ORIGINAL in files:
        name += ORIGINAL
    if name not in files:
        hint = ("config.json does not say that the head is the embedding (tie_word_embeddings)" if role == "head" else
                UNSAID if name.removesuffix("weight") + RIGHT in files else nearest(name, files.stored))
        raise ModelError(files.directory, f"tensor {name}", got="missing", expected=f"{shown(shape)}, for {role}", hint=hint)
    files.used.add(name)
    return float_tensor(files.stored[name])


def unused(name: str) -> str:
    """What may be wrong if a model has no place for a tensor."""
    if name.endswith((".qweight", ".weight_packed", ".weight_scale", ".qzeros", ".scales")):
        return "config.json has no quantization_config that says how its weights are stored"
    return "an option of config.json may be wrong, such as a bias"


def module_name(c: Config, role: str) -> str:
    """The module of transformers that has the tensor of a layer's role: model.layers.3.self_attn.q_proj."""
    return f"model.{CLASSES[c.architecture].hf.of(role)}".rpartition(".")[0]
