"""What GPTQ's and AWQ's own packages pack and unpack is what the tests' packing gives, which the reader is held to.

auto-gptq 0.7.1 and autoawq 0.2.9 are packages that write such checkpoints. Both ask for much that these functions do not use: they
are installed without it (.ci/run), and a file of theirs is loaded by itself, with nothing of its package.
"""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored_files

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")     # auto-gptq's file imports it

RNG = np.random.default_rng(13)
ROWS, COLS = 64, 128


def _file_of(package: str, file: str, version: str) -> Any:
    """A file of an installed package as a module, without the package around it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"pip install --no-deps {version}")
    spec = spec_from_file_location(f"{package}_alone", Path(found.origin).parent / file)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _codes(bits: int, group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (rows, cols) from 0; zeros and scales (rows, groups)."""
    groups = COLS // group
    return (RNG.integers(0, 1 << bits, (ROWS, COLS)), RNG.integers(1, 1 << bits, (ROWS, groups)),
            RNG.choice([0.25, 0.5, 1, 2], (ROWS, groups)).astype(np.float16))


def _weights(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray) -> np.ndarray:
    each = codes.shape[1] // zeros.shape[1]
    return (codes - np.repeat(zeros, each, axis=1)) * np.repeat(scales.astype(np.float32), each, axis=1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [32, 128])
def test_gptq(bits: int, group: int) -> None:
    theirs = _file_of("auto_gptq", "nn_modules/qlinear/qlinear_cuda_old.py", "auto-gptq==0.7.1")
    codes, zeros, scales = _codes(bits, group)
    linear = torch.nn.Linear(COLS, ROWS, bias=False)
    linear.weight.data = torch.from_numpy(_weights(codes, zeros, scales).astype(np.float32))
    layer = theirs.QuantLinear(bits, group, COLS, ROWS, bias=False, weight_dtype=torch.float32)
    layer.pack(linear, *(torch.from_numpy(each.astype(np.float32)) for each in (scales, zeros)), torch.arange(COLS) // group)
    ours = stored_files.gptq("m", codes, zeros, scales, bits)
    for name in ("qweight", "qzeros", "scales", "g_idx"):
        assert np.array_equal(getattr(layer, name).numpy(), ours[f"m.{name}"]), name
    unpacked = layer(torch.eye(COLS))           # what it multiplies by
    assert np.array_equal(unpacked.detach().float().numpy().T, _weights(codes, zeros, scales))


@pytest.mark.parametrize("group", [32, 128])
def test_awq(group: int) -> None:
    theirs = _file_of("awq", "utils/packing_utils.py", "autoawq==0.2.9")
    codes, zeros, scales = _codes(4, group)
    ours = {name: torch.from_numpy(value) for name, value in stored_files.awq("m", codes, zeros, scales).items()}
    unpacked = theirs.dequantize_gemm(ours["m.qweight"], ours["m.qzeros"], ours["m.scales"], 4, group)
    assert np.array_equal(unpacked.numpy().T, _weights(codes, zeros, scales))
