"""AWQ: linears as integer codes of 4 bits, columns of a group with a scale and a zero point for each row.

    qweight  I32 (cols, rows / 8)            of 8 rows the codes of a column, in the order 0 2 4 6 1 3 5 7
    qzeros   I32 (groups, rows / 8)          zero points, in the same order
    scales   floats (groups, rows)

Source: AutoAWQ 0.2.9, modules/linear/gemm.py and utils/packing_utils.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compiler.frontends.options import Options
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS
from compiler.frontends.stored.integers import integers
from compiler.frontends.stored.matrices import Matrix, Rows, numbers, turned, unpacked
from compiler.frontends.stored.storage import Storage, refuse
from compiler.model.tensors import Tensor

BITS, WORD = 4, 8
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""The place in a word of row 0, 1 ... 7 of its eight rows."""
_HARMLESS = """
    quant_method modules_to_not_convert backend do_fuse fuse_max_seq_len modules_to_fuse exllama_config zero_point sym desc_act
    pack_dtype lm_head
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Options that change nothing of how weights are read, or that tensors say too."""


@dataclass(frozen=True)
class _RowsOfWords(Matrix):
    """Eight rows in each word of (cols, rows / 8). Only the words of the rows asked for are read."""

    def block(self, first: int, last: int) -> Any:
        start, end = first // WORD, -(-last // WORD)
        words = numbers(self.stored).reshape(self.stored.shape)[:, start:end]
        return unpacked(words, BITS, PLACES)[:, first - start * WORD:last - start * WORD].T


@dataclass(frozen=True, kw_only=True)
class Awq(Storage):
    """`group` columns share a scale and a zero point; -1: a row."""

    group: int

    def tensor(self, files: Files, name: str, shape: tuple[int, ...], *, linear: bool) -> Tensor | None:
        """A linear that has a qweight."""
        module = name.removesuffix(".weight")
        if f"{module}.qweight" not in files or len(shape) != 2:
            return None
        rows, cols = shape
        group = self.group if self.group > 0 else cols
        groups = -(-cols // group)
        packed = files.take(f"{module}.qweight", ["I32"], (cols, rows // WORD), why=f"codes of {rows} rows and {cols} columns")
        zeros = files.take(f"{module}.qzeros", ["I32"], (groups, rows // WORD), why=f"zero points in groups of {group} columns")
        scales = files.take(f"{module}.scales", FLOATS, (groups, rows), why=f"scales in groups of {group} columns")
        return integers(_RowsOfWords(packed, (rows, cols)), turned(Rows(scales, (groups, rows))),
                        _RowsOfWords(zeros, (rows, groups)), bits=BITS, group=group, signed=False)

    def drop(self, files: Files, name: str) -> bool:
        """Biases that are zero, of linears that have none in the model."""
        module = name.removesuffix(".bias")
        return module != name and f"{module}.qweight" in files and not numbers(files.take(name, FLOATS)).any()


def read(table: Options) -> Awq:
    """The quantization_config of AWQ."""
    table.choice("quant_method", {"awq": True})
    key = "bits" if "bits" in table.values else "w_bit"
    if table.whole(key, BITS) != BITS:
        raise refuse(table, key, str(BITS))
    key = "version" if "version" in table.values else "format"
    if str(table.values.get(key, "gemm")).lower() != "gemm":
        raise refuse(table, key, "gemm")
    group = table.whole("group_size" if "group_size" in table.values else "q_group_size", 128) or 0
    if group == 0 or group < -1:
        raise table.error("group_size", expected="a number of columns, or -1 for a whole row")
    table.values.pop(key, None)
    table.check_rest(HARMLESS)
    return Awq(group=group)
