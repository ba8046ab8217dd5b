"""Products with matrices that are stored as centres and differences, in NumPy: operations of the executor (execute.py).

They compute as a program does, from what is stored, not from the matrix. What is stored is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.model.tensors import F32

if TYPE_CHECKING:
    from compiler.model.model import Model


class ReuseOperations:
    """The operations of the executor that reuse the sums of centres. Shapes are those of KINDS (ops.py)."""

    model: Model
    _parts: dict[tuple[str, str], Any]

    def _part(self, role: str, part: str) -> Any:
        """What a matrix is stored as: "clusters", "order", or "rows" in this order."""
        if (role, part) not in self._parts:
            tensor: Any = self.model.tensor(role)
            self._parts[role, part] = tensor.in_order() if part == "rows" else getattr(tensor, part)
        return self._parts[role, part]

    def _centre_sums(self, x: Any, *, W: str, columns: float) -> Any:
        pieces = np.pad(x, (0, -len(x) % int(columns))).reshape(-1, int(columns)).astype(np.int32)
        return pieces @ self._part(W, "clusters").centres.astype(np.int32).T

    def _gemv_i8_reuse(self, x: Any, scale: F32, sums: Any, *, W: str, columns: float) -> F32:
        differences, assigned, scales = self._part(W, "rows")
        tensor: Any = self.model.tensor(W)
        of_centres = np.take_along_axis(sums, assigned.T.astype(np.int64), axis=1).sum(axis=0, dtype=np.int32)
        total = of_centres + ((differences.astype(np.int32) @ x.astype(np.int32)) << tensor.reuse.shift)
        result: F32 = total.astype(np.float32) * (scales[:, 0] * scale)
        return result

    def _place(self, x: F32, *, W: str) -> F32:
        y = np.empty_like(x)
        y[self._part(W, "order").rows] = x
        return y
