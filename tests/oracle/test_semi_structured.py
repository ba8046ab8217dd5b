"""Semi-structured matrices that torch itself has packed, in the layout of CUTLASS, are read as they were."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from compiler.frontends.shards import open_file
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.sparse import sparse_matrix

torch = pytest.importorskip("torch")
from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass  # noqa: E402


@pytest.mark.parametrize(("dtype", "kept"), [(np.float16, 2), (np.int8, 2), (np.float32, 1)])
@pytest.mark.parametrize("shape", [(64, 128), (96, 256), (160, 320)])
def test_what_torch_packs(dtype: type, kept: int, shape: tuple[int, int], tmp_path: Path) -> None:
    generator = np.random.default_rng(shape[0])
    dense = generator.integers(-127, 128, shape).astype(dtype)
    for group in dense.reshape(-1, 2 * kept):
        group[generator.permutation(2 * kept)[:kept]] = 0
    values, meta = sparse_semi_structured_from_dense_cutlass(torch.from_numpy(dense))
    save_file({"m.packed": values.numpy(), "m.meta": meta.numpy()}, tmp_path / "m.safetensors")
    matrix = sparse_matrix(Files(tmp_path, open_file(tmp_path / "m.safetensors")), "m.weight", shape, ("F32", "F16", "I8"))
    assert matrix is not None and np.array_equal(matrix.whole(), dense)
