"""GPTQ: linears as integer codes of 2, 3, 4 or 8 bits, columns of a group with a scale and a zero point for each row.

    qweight  I32 (cols * bits / 32, rows)    codes without gaps, the lowest bits first, down a column
    qzeros   I32 (groups, rows * bits / 32)  zero points, along a row; less 1 in files of version 1
    scales   floats (groups, rows)
    g_idx    I32 (cols,)                     the group of each column

Source: AutoGPTQ 0.7.1, nn_modules/qlinear/qlinear_cuda_old.py; GPTQModel, utils/model.py (convert_gptq_v1_to_v2_format).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of
from compiler.frontends.options import Options
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS
from compiler.frontends.stored.integers import integers
from compiler.frontends.stored.matrices import Matrix, Rows, Unpacked, numbers, turned, unpacked_of, words_for
from compiler.frontends.stored.storage import Storage, refuse, way_out
from compiler.model.tensors import Tensor

_HARMLESS = """
    quant_method desc_act damp_percent damp_auto_increment true_sequential static_groups mse model_name_or_path model_file_base_name
    model_seqlen block_name_to_quantize module_name_preceding_first_block batch_size pad_token_id dataset tokenizer use_cuda_fp16
    use_exllama disable_exllama exllama_config max_input_length cache_block_outputs modules_in_block_to_quantize backend meta
    quantizer quantize pack_dtype sym lm_head is_marlin_format act_group_aware
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Options that change nothing of how weights are read, or that tensors say too."""


@dataclass(frozen=True)
class _From1(Matrix):
    """Zero points of version 1, which stores them less 1, modulo the range of codes."""

    of: Unpacked

    def block(self, first: int, last: int) -> Any:
        return self.of.block(first, last) + np.uint8(1) & np.uint8((1 << self.of.bits) - 1)


@dataclass(frozen=True, kw_only=True)
class Gptq(Storage):
    """`less_1`: a file of version 1."""

    bits: int
    group: int
    less_1: bool

    def tensor(self, files: Files, name: str, shape: tuple[int, ...], *, linear: bool) -> Tensor | None:
        """A linear that has a qweight."""
        module = name.removesuffix(".weight")
        if f"{module}.qweight" not in files or len(shape) != 2:
            return None
        rows, cols = shape
        group = min(self.group, cols) if self.group > 0 else cols
        groups = -(-cols // group)
        packed = files.take(f"{module}.qweight", ["I32"], (words_for(cols, self.bits, crossing=True), rows),
                            why=f"codes of {self.bits} bits of a matrix of {rows} rows and {cols} columns")
        zeros = files.take(f"{module}.qzeros", ["I32"], (groups, words_for(rows, self.bits, crossing=True)),
                           why=f"zero points in groups of {group} columns")
        scales = files.take(f"{module}.scales", FLOATS, (groups, rows), why=f"scales in groups of {group} columns")
        if f"{module}.g_idx" in files:
            order = files.take(f"{module}.g_idx", ["I32"], (cols,))
            if not np.array_equal(numbers(order), np.arange(cols) // group):
                raise ModelError(order.where.file, f"tensor {order.name}", got="columns of a group that are not neighbours "
                                 "(desc_act, the order of activations)", expected="groups of neighbours", hint=way_out("gptq"))
        of = unpacked_of(Rows(zeros, (groups, zeros.shape[1])), self.bits, rows, crossing=True)
        codes = unpacked_of(turned(Rows(packed, (packed.shape[0], rows))), self.bits, cols, crossing=True)
        return integers(codes, turned(Rows(scales, (groups, rows))), turned(_From1(zeros, of.shape, of) if self.less_1 else of),
                        bits=self.bits, group=group, signed=False)

    def drop(self, files: Files, name: str) -> bool:
        """Biases that are zero, which AutoGPTQ gives every linear."""
        return name.endswith(".bias") and f"{name.removesuffix('.bias')}.qweight" in files and not np.any(
            numbers(files.take(name, FLOATS)))


def read(table: Options) -> Gptq:
    """The quantization_config of GPTQ."""
    table.choice("quant_method", {"gptq": True})
    bits = table.whole("bits")
    if bits not in (2, 3, 4, 8):
        raise refuse(table, "bits", "2, 3, 4 or 8")
    versions = {"gptq": True, "gptq_v2": False}
    key = next((key for key in ("checkpoint_format", "format") if table.values.get(key)), "checkpoint_format")
    if table.values.get(key, "gptq") not in versions:
        raise refuse(table, key, one_of(versions))
    if table.values.get("dynamic"):
        raise refuse(table, "dynamic", "the same for all linears")
    group = table.whole("group_size", 128) or 0
    if group == 0 or group < -1:
        raise table.error("group_size", expected="a number of columns, or -1 for a whole row")
    less_1 = table.choice(key, versions, "gptq")
    table.check_rest(HARMLESS)
    return Gptq(bits=bits, group=group, less_1=less_1)
