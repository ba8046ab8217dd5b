"""How the matrices of a checkpoint are stored, as its quantization_config says: a record for each quant_method.

    storage.tensor(files, "layers.0.mlp.up_proj.weight", (48, 32), linear=True)

A storage takes the matrices that are stored in its way, and leaves the others: which ones these are, the names of tensors say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from compiler.errors import ModelError
from compiler.frontends.options import Options
from compiler.frontends.stored.files import Files
from compiler.model.tensors import Tensor


@dataclass(frozen=True, kw_only=True)
class Storage(ABC):
    """int8_activations: the model is computed with activations that are rounded to int8 (BitNet)."""

    int8_activations: bool = False

    @abstractmethod
    def tensor(self, files: Files, name: str, shape: tuple[int, ...], *, linear: bool) -> Tensor | None:
        """The tensor NAME.weight of this shape, if it is stored in this way. `linear`: a matrix of a layer that multiplies."""

    def drop(self, files: Files, name: str) -> bool:
        """Whether a tensor without a role says nothing, though it is not zero bytes."""
        return False


FLOATS_FIRST = "take the checkpoint of floats that it was made from, or a dequantised export"
DEQUANTISED = {
    "bitsandbytes": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "higgs": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "fp8": "from_pretrained(DIR, quantization_config=FineGrainedFP8Config(dequantize=True)) and save_pretrained(NEW) make one",
    "mxfp4": "from_pretrained(DIR, quantization_config=Mxfp4Config(dequantize=True)) and save_pretrained(NEW) make one",
    "compressed-tensors": "from_pretrained(DIR, quantization_config=CompressedTensorsConfig(dequantize=True)) and "
                          "save_pretrained(NEW) make one",
    "mlx": "mlx_lm.convert --dequantize makes one",
}
"""How to make weights that can be read from those that another library has quantised, by quant_method."""


def way_out(method: str) -> str:
    """What helps where weights that another library has quantised cannot be read."""
    return "; ".join(filter(None, (FLOATS_FIRST, DEQUANTISED.get(method), "--weights quantises it again")))


def refuse(table: Options, key: str, expected: str) -> ModelError:
    """The error of an option of a quantisation that makes weights unreadable here."""
    return table.error(key, expected=expected, hint=way_out(str(table.values.get("quant_method", "compressed-tensors"))))
