"""What the library compressed-tensors packs is read as it was, and is byte for byte what the tests' own packing gives.

Version 0.12 is the last one of a kind that still has sparse compressors. It asks for an older transformers than the other
comparisons here, which this part of it does not use: so it is installed without what it asks for (.ci/run).
"""

from pathlib import Path

import numpy as np
import pytest
import stored_files

from compiler.frontends.shards import open_file
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.sparse import sparse_matrix

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors", reason="pip install --no-deps compressed-tensors==0.12.2")
from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32  # noqa: E402
from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import Sparse24BitMaskTensor  # noqa: E402
from compressed_tensors.compressors.sparse_compressors.sparse_bitmask import BitmaskTensor  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

RNG = np.random.default_rng(12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("shape", [(1, 8), (5, 16), (24, 40), (64, 128)])
@pytest.mark.parametrize("two_of_four", [False, True])
def test_bitmasks(dtype: type, shape: tuple[int, int], two_of_four: bool, tmp_path: Path) -> None:
    # Of two equal magnitudes in a group it is chance which one the library keeps: here all of a group differ.
    dense = np.argsort(RNG.random((shape[0], shape[1] // 4, 4)), axis=2).reshape(shape) + 1
    dense = (dense * RNG.choice([-1, 1], shape)).astype(dtype)
    dense[np.abs(dense.astype(int)) <= 2 if two_of_four else RNG.random(shape) < 0.5] = 0
    kind = Sparse24BitMaskTensor if two_of_four else BitmaskTensor
    name = "m" if two_of_four else "m.weight"
    theirs = {key: value.contiguous() for key, value in kind.from_dense(torch.from_numpy(dense)).dict(name).items()}
    ours = stored_files.bitmask(name, dense, two_of_four=two_of_four)
    assert theirs.keys() == ours.keys()
    for key, value in ours.items():
        assert np.array_equal(theirs[key].numpy().reshape(value.shape), value), key
    save_file(theirs, tmp_path / "m.safetensors")
    matrix = sparse_matrix(Files(tmp_path, open_file(tmp_path / "m.safetensors")), "m.weight", shape, ("F32", "F16", "I8"))
    assert matrix is not None and np.array_equal(matrix.whole(), dense)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("shape", [(1, 8), (7, 33), (16, 64)])
def test_words_of_codes(bits: int, shape: tuple[int, int]) -> None:
    half = 1 << bits - 1
    codes = RNG.integers(-half, half, shape).astype(np.int8)
    ours = stored_files.pack_quantized("m", codes, np.ones((shape[0], 1), np.float32), bits)["m.weight_packed"]
    assert np.array_equal(pack_to_int32(torch.from_numpy(codes), bits).numpy(), ours)
