"""Float weights to start training from: those of another run of `train.py`, or of the model that ships.

    shape, weights = weights_of(Path("programs/demo/model"))
    set_weights(model, weights)
"""

import json
import sys
from pathlib import Path

import safetensors.numpy
import torch
from torch import Tensor

from programs.demo.linears import Monarch
from programs.demo.model import BitNet, Shape
from programs.demo.packing import unpack


def weights_of(source: Path) -> tuple[Shape, dict[str, Tensor]]:
    """The shape and the tensors by name. Those of a model directory are codes * scale; a run's are what its optimiser has."""
    if (source / "checkpoint.pt").is_file():
        state = torch.load(source / "checkpoint.pt", weights_only=True)
        return Shape(**state["shape"]), state["model"]
    if not (source / "model.safetensors").is_file():
        sys.exit(f"error: {source} has no checkpoint.pt and no model.safetensors; expected the --out folder of a run or a model")
    c = json.loads((source / "config.json").read_text(encoding="utf-8"))
    shape = Shape(c["vocab_size"], c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"], c["num_key_value_heads"],
                  c["intermediate_size"], c["max_position_embeddings"], c["rope_theta"], c["rms_norm_eps"])
    weights = {}
    for name, stored in safetensors.numpy.load_file(source / "model.safetensors").items():
        if str(stored.dtype) == "uint8":
            scale = safetensors.numpy.load_file(source / "model.safetensors")[f"{name}_scale"]
            weights[name.removeprefix("model.")] = torch.from_numpy(unpack(stored) * scale)
        elif not name.endswith("_scale"):
            weights[name.removeprefix("model.")] = torch.from_numpy(stored.copy())
    return shape, weights


def set_weights(model: BitNet, weights: dict[str, Tensor]) -> None:
    """Give a model the weights of one of the same shape, whose linears have matrices. Monarch linears take the nearest factors."""
    projected = {name: module for name, module in model.named_modules()
                 if isinstance(module, Monarch) and f"{name}.weight" in weights}
    for name, module in projected.items():
        module.project(weights[f"{name}.weight"])
    missing = [name for name in model.load_state_dict(weights, strict=False).missing_keys
               if not name.endswith(".kept") and name.rpartition(".")[0] not in projected]
    if missing:
        sys.exit(f"error: no weights to start from for {missing[0]}; its linears have another kind of weights")


def network_of(run: Path) -> BitNet:
    """The network of a run, to evaluate."""
    shape, weights = weights_of(run)
    model = BitNet(shape).eval()
    model.load_state_dict(weights)
    return model
