"""config.json of a Hugging Face directory to a Config: the family that it names, and how its weights are stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.errors import one_of
from compiler.frontends.families import CLASSES, RENAMED
from compiler.frontends.family import Family
from compiler.frontends.hf_options import ALLOWED, HARMLESS
from compiler.frontends.options import Options
from compiler.frontends.stored.methods import storage_of
from compiler.frontends.stored.storage import Storage
from compiler.frontends.unsupported import hint
from compiler.model.model import Config, check_config
from compiler.model.monarch import check_sides


def read_config(file: Path, options: Options) -> tuple[Config, Storage | None]:
    """The configuration, and how its matrices are stored if not as floats. Raises ModelError for whatever is not supported."""
    family = family_of(options)
    config = family.config(options)
    config = replace(config, bos=min(options.tokens("bos_token_id"), default=None), stop=options.tokens("eos_token_id"))
    storage = storage_of(options)
    block = _block(options)
    if block and storage:
        raise options.error("monarch", got="block-diagonal matrices and a quantization_config", expected="one of the two")
    rounded = storage is not None and storage.int8_activations
    if rounded and config.biases:
        raise options.error("quantization_config", got="BitNet weights and biases", expected="linears without biases")
    options.check_rest(HARMLESS, ALLOWED)
    check_config(config, file, family.hf.keys)
    if block:
        check_sides(config, block, file, "monarch.block", str(block))
    return replace(config, int8_activations=rounded, monarch=block), storage


def _block(options: Options) -> int:
    """The block of block-diagonal matrices, 0: they are dense."""
    table = options.table("monarch")
    if not table.values:
        return 0
    block = table.size("block")
    if block < 2:
        raise table.error("block", expected="2 or more: blocks of block x block in squares with sides of block * block")
    table.check_rest(strict=True)
    return block


def family_of(options: Options) -> Family:
    """The family of the one class that `architectures` names."""
    names = options.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise options.error("architectures", expected=f"one of {one_of(CLASSES)}")
    name = RENAMED.get(names[0], names[0])
    if name not in CLASSES:
        raise options.error("architectures", expected=one_of(CLASSES), hint=hint(name, CLASSES))
    return CLASSES[name]
