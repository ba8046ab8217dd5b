"""LoRA adapters in the files of PEFT, merged into a model: adapter_config.json and adapter_model.safetensors.

    model = with_adapter(load(base), directory)

A matrix W (rows, cols) with an adapter A (r, cols), B (rows, r) becomes, element by element,

    W + s * (B[:, 0] A[0] + B[:, 1] A[1] + ...)     s = lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora

The bracket and the product with s are fp64, in this order, and rounded to fp32; the sum with W is fp32. If W is pruned
(formats/scales.py says when), its zeros stay: the adapter counts only where W is not zero, as in LoRS and SNELL.

Source: peft 0.21, tuners/lora (config.py, layer.py: get_delta_weight, merge), utils/other.py (get_pattern_key).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of
from compiler.formats.scales import PRUNED
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.families import CLASSES
from compiler.frontends.options import Allowed, Options
from compiler.frontends.shards import Stored, open_file, read_json
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS, float_tensor
from compiler.model.model import Model
from compiler.model.tensors import F32, DerivedTensor
from isa.hints import nearest
from isa.text import counted

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."

_HARMLESS = """
    auto_mapping base_model_name_or_path revision inference_mode lora_dropout task_type peft_version target_modules exclude_modules
    layers_to_transform layers_pattern megatron_config megatron_core runtime_config eva_config loftq_config corda_config
    lora_ga_config qalora_group_size
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Training and book-keeping, and which modules have an adapter, which the tensors say."""

_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal", "lora_ga")
ALLOWED: dict[str, Allowed] = {
    "init_lora_weights": Allowed(lambda v: v in _INITIAL, one_of(map(str, _INITIAL)), "others change the base model too"),
    "bias":              Allowed(lambda v: v == "none", "none", "biases of an adapter are not supported"),
    "fan_in_fan_out":    Allowed(lambda v: not v, "false"),
    "use_dora":          Allowed(lambda v: not v, "false", "merge it with peft: merge_and_unload()"),
    "modules_to_save":   Allowed(lambda v: not v, "none", "merge it with peft: merge_and_unload()"),
}


@dataclass(frozen=True, kw_only=True)
class MergedTensor(DerivedTensor):
    """A matrix of floats plus `scale` times `high` (rows, r) times `low` (r, columns)."""

    low: Stored
    high: Stored
    scale: float

    @cached_property
    def _pruned(self) -> bool:
        """Whether the matrix is a pruned one, which is read for this."""
        zeros = sum(int(np.count_nonzero(self.source.rows(*block) == 0)) for block in self.source.blocks())
        return zeros >= PRUNED * math.prod(self.shape)

    @cached_property
    def _low(self) -> Any:
        return float_tensor(self.low).rows().astype(np.float64)

    def _rows(self, first: int, last: int) -> F32:
        weights, high = self.source.rows(first, last), float_tensor(self.high).rows(first, last).astype(np.float64)
        total = np.zeros(weights.shape)
        for column, row in zip(high.T, self._low, strict=True):
            total += column[:, None] * row
        merged: F32 = weights + (self.scale * total).astype(np.float32)
        return np.where(weights == 0, weights, merged) if self._pruned else merged


def with_adapter(model: Model, directory: Path) -> Model:
    """The model with an adapter merged into it. Raises ModelError for what does not fit, OSError."""
    if not model.path.is_dir():
        raise ModelError(model.path, "--adapter", got="not a Hugging Face directory", expected="the model that it was trained for")
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            other = next((path.name for path in sorted(directory.glob("adapter_model.*")) if name == WEIGHTS), "")
            raise ModelError(directory, "--adapter", got=f"no {name}" + (f", but {other}" if other else ""),
                             expected=f"a PEFT directory with {CONFIG} and {WEIGHTS}")
    options = Options(directory / CONFIG, read_json(directory / CONFIG))
    options.choice("peft_type", {"LORA": True})
    scaling = _Scaling(options.size("r"), options.real("lora_alpha"), options.table("rank_pattern").values,
                       options.table("alpha_pattern").values, options.flag("use_rslora", False))
    options.check_rest(HARMLESS, ALLOWED, strict=True)
    files = Files(directory, open_file(directory / WEIGHTS))
    modules = {name if role == "head" else f"model.{name}": role for role in model.tensors
               if len(model.tensors[role].shape) == 2 and role not in ("embedding", "positions")
               for name in (CLASSES[model.config.architecture].hf.of(role).removesuffix(".weight"),)}
    tensors, merged = dict(model.tensors), 0
    for name in files.stored:
        module, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
        if part not in ("A.weight", "B.weight") or not name.startswith(PREFIX) or module not in modules:
            raise ModelError(directory / WEIGHTS, f"tensor {name}", got="no matrix of the model has this adapter",
                             expected=f"{PREFIX}MODULE.lora_A.weight and lora_B.weight of linears",
                             hint=nearest(module, modules) if part else "")
        if part == "A.weight":
            tensors[modules[module]] = _merged(model, modules[module], files, module, scaling)
            merged += 1
    for name in files.stored.keys() - files.used:
        files.take(name.replace("lora_B", "lora_A"), FLOATS, why=f"the other half of {name}")
    notes = (*model.notes, *(f"{directory}: {note}" for note in options.notes),
             f"{directory}: {counted(merged, 'matrix' if merged == 1 else 'matrice')} merged")
    return replace(model, tensors=tensors, notes=notes)


@dataclass(frozen=True)
class _Scaling:
    """Rank and alpha of modules: those of all, and others by patterns of names."""

    rank: int
    alpha: float
    ranks: Mapping[str, Any]
    alphas: Mapping[str, Any]
    by_root: bool

    def of(self, module: str) -> tuple[int, float]:
        """(rank, scale) of a module."""
        rank, alpha = _by_pattern(self.ranks, module, self.rank), _by_pattern(self.alphas, module, self.alpha)
        return rank, alpha / (math.sqrt(rank) if self.by_root else rank)


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)), default)


def _merged(model: Model, role: str, files: Files, module: str, scaling: _Scaling) -> MergedTensor:
    tensor, (rank, scale) = model.tensors[role], scaling.of(module)
    if tensor.format.has_codes:
        raise ModelError(files.directory, "--adapter", got=f"an adapter of {tensor.name}, which is quantised ({tensor.stored})",
                         expected="a base model of floats", hint="merge it into the floats, then --weights quantises the result")
    rows, cols = tensor.matrix
    low = files.take(f"{PREFIX}{module}.lora_A.weight", FLOATS, (rank, cols), why=f"rank {rank} for {tensor.name}")
    high = files.take(f"{PREFIX}{module}.lora_B.weight", FLOATS, (rows, rank), why=f"rank {rank} for {tensor.name}")
    return MergedTensor(tensor.name, tensor.shape, WEIGHT_FORMATS["f32"], source=tensor, low=low, high=high, scale=scale)
