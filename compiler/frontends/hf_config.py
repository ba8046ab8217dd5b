"""config.json of a Hugging Face directory to a Config: the family that it names, and the quantisation of its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from compiler.errors import one_of
from compiler.frontends.families import CLASSES, RENAMED
from compiler.frontends.family import Family
from compiler.frontends.hf_options import ALLOWED, HARMLESS
from compiler.frontends.options import Options
from compiler.frontends.unsupported import hint
from compiler.model.model import Config, check_config


@dataclass(frozen=True)
class Quantisation:
    """How the linears of a layer are stored: `packed` ternary codes, or floats that become ternary when read.

    inverse  the stored scale divides the codes instead of multiplying them
    """

    packed: bool
    inverse: bool


def read_config(file: Path, options: Options) -> tuple[Config, Quantisation | None]:
    """The configuration, and how its linears are quantised. Raises ModelError for whatever is not supported."""
    family = family_of(options)
    config = family.config(options)
    config = replace(config, bos=min(options.tokens("bos_token_id"), default=None), stop=options.tokens("eos_token_id"))
    quantisation = _quantisation(options)
    if quantisation and config.biases:
        raise options.error("quantization_config", got="BitNet weights and biases", expected="linears without biases")
    options.check_rest(HARMLESS, ALLOWED)
    check_config(config, file, family.hf.keys)
    return replace(config, int8_activations=quantisation is not None), quantisation


def family_of(options: Options) -> Family:
    """The family of the one class that `architectures` names."""
    names = options.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise options.error("architectures", expected=f"one of {one_of(CLASSES)}")
    name = RENAMED.get(names[0], names[0])
    if name not in CLASSES:
        raise options.error("architectures", expected=one_of(CLASSES), hint=hint(name, CLASSES))
    return CLASSES[name]


# ------------------------------------------------------------------------------------------------ BitNet


FLOATS_FIRST = "take the checkpoint of floats that it was made from, or a dequantised export"
WAYS_OUT = {
    "bitsandbytes": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "higgs": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "fp8": "from_pretrained(DIR, quantization_config=FineGrainedFP8Config(dequantize=True)) and save_pretrained(NEW) make one",
    "mxfp4": "from_pretrained(DIR, quantization_config=Mxfp4Config(dequantize=True)) and save_pretrained(NEW) make one",
    "compressed-tensors": "from_pretrained(DIR, quantization_config=CompressedTensorsConfig(dequantize=True)) and "
                          "save_pretrained(NEW) make one",
    "mlx": "mlx_lm.convert --dequantize makes one",
}
"""How to make weights that can be read from those that another library has quantised, by quant_method."""


def _way_out(method: str) -> str:
    return "; ".join(filter(None, (FLOATS_FIRST, WAYS_OUT.get(method), "--weights quantises it again")))


def _quantisation(options: Options) -> Quantisation | None:
    """quantization_config: BitNet's, or none. Source: transformers, integrations/bitnet.py."""
    for key in ("quantization", "compression_config"):          # MLX's name for it, and an older one of compressed-tensors
        if options.table(key).values:
            raise options.error(key, expected="none, or quantization_config of bitnet",
                                hint=_way_out("mlx" if key == "quantization" else "compressed-tensors"))
    table = options.table("quantization_config")
    if not table.values:
        return None
    method = table.values.get("quant_method")
    if method != "bitnet":
        raise table.error("quant_method", expected="bitnet", hint=_way_out(str(method)))
    table.choice("quant_method", {"bitnet": True})
    mode = table.choice("quantization_mode", {"offline": True, "online": False}, "offline")
    auto = table.choice("linear_class", {"bitlinear": False, "autobitlinear": True}, "bitlinear")
    if not mode and not auto:
        raise table.error("quantization_mode", expected="offline for linear_class bitlinear")
    if table.flag("use_rms_norm", False):
        raise table.error("use_rms_norm", expected="false", hint="a norm within each linear is not supported")
    table.real("rms_norm_eps", 1e-6)
    kept = table.values.get("modules_to_not_convert")
    if kept not in (None, [], ["lm_head"]):
        raise table.error("modules_to_not_convert", expected='null or ["lm_head"]')
    table.values.pop("modules_to_not_convert", None)
    table.check_rest(strict=True)
    return Quantisation(packed=mode, inverse=not auto)
