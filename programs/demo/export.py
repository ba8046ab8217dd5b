"""A checkpoint of `train.py` to the model directory that ships: a Hugging Face BitNetForCausalLM with packed ternary matrices.

    python -m programs.demo.export out/demo programs/demo/model

Any checkpoint will do, one in the middle of a run included. Every linear becomes packed codes -1, 0, 1 and one scale that
multiplies (`linear_class` autobitlinear, as in microsoft/bitnet-b1.58-2B-4T); embedding and norms stay f32, which transformers then
computes in.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from isa.files import replacing
from programs.demo.model import Shape, ternary
from programs.demo.packing import pack
from programs.demo.tokenizer import SEPARATOR, SEPARATOR_ID


def tensors(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Names and values as they are stored."""
    result: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        if tensor.ndim == 2 and "embed" not in name:
            codes, scale = ternary(tensor)
            result[f"model.{name}"] = pack(codes.numpy())
            result[f"model.{name}_scale"] = scale.numpy().reshape(1)
        else:
            result[f"model.{name}"] = tensor.numpy()
    return result


def config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "dtype": "float32",
        "vocab_size": shape.vocabulary, "hidden_size": shape.dim, "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context, "hidden_act": "relu2", "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta, "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "attention_bias": False, "tie_word_embeddings": True, "bos_token_id": SEPARATOR_ID, "eos_token_id": SEPARATOR_ID,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline",
                                "modules_to_not_convert": ["lm_head"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a model directory of a checkpoint.")
    parser.add_argument("run", type=Path, help="folder of checkpoint.pt and tokenizer.json")
    parser.add_argument("model", type=Path, help="folder to write")
    arguments = parser.parse_args()
    missing = [name for name in ("checkpoint.pt", "tokenizer.json") if not (arguments.run / name).is_file()]
    if missing:
        sys.exit(f"error: {arguments.run} has no {' and no '.join(missing)}; expected the --out folder of programs.demo.train")
    state = torch.load(arguments.run / "checkpoint.pt", weights_only=True, map_location="cpu")
    shape = Shape(**state["shape"])
    files = {
        "config.json": json.dumps(config(shape), indent=2) + "\n",
        "generation_config.json": json.dumps({"bos_token_id": SEPARATOR_ID, "eos_token_id": SEPARATOR_ID}, indent=2) + "\n",
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SEPARATOR,
                                             "eos_token": SEPARATOR, "model_max_length": shape.context}, indent=2) + "\n",
        "tokenizer.json": (arguments.run / "tokenizer.json").read_text(encoding="utf-8"),
        "model.safetensors": safetensors.numpy.save(tensors(state["model"]), metadata={"format": "pt"}),
    }
    arguments.model.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(arguments.model / name) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    print(f"{arguments.model}: step {state['step']}, {sum(len(content) for content in files.values())} bytes")


if __name__ == "__main__":
    main()
