"""A checkpoint of `train.py` to a model directory: a Hugging Face BitNetForCausalLM.

    python -m programs.demo.export out/demo programs/demo/model

Any checkpoint will do, one in the middle of a run included. What a linear becomes depends on `--weights` of the run:

    ternary   packed codes -1, 0, 1 and one scale that multiplies (`linear_class` autobitlinear, as in
              microsoft/bitnet-b1.58-2B-4T); embedding and norms stay f32, which transformers then computes in
    int8      codes and a scale for each row in the way of compressed-tensors, in a bitmask if the run pruned it (bitmask.py)
    monarch   NAME.right and NAME.left in f16, of codes * scale: they are rounded to the same codes again

The embedding of the last two is f16.
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
from programs.demo.bitmask import compress, two_of_four
from programs.demo.linears import Int8, Monarch, Ternary, ternary
from programs.demo.model import BitNet, Shape
from programs.demo.packing import pack
from programs.demo.tokenizer import SEPARATOR, SEPARATOR_ID


def tensors(model: BitNet) -> dict[str, np.ndarray]:
    """Names and values as they are stored."""
    result = {name: value.numpy() for name, value in model.named_parameters() if name.endswith("norm.weight")}
    embedding = model.embed_tokens.weight.numpy()
    result["embed_tokens.weight"] = embedding if model.shape.weights == "ternary" else embedding.astype(np.float16)
    for name, module in model.named_modules():
        match module:
            case Ternary():
                codes, scale = ternary(module.weight)
                result |= {f"{name}.weight": pack(codes.numpy()), f"{name}.weight_scale": scale.numpy().reshape(1)}
            case Int8():
                codes, scale = (tensor.numpy() for tensor in module.codes())
                codes, kept = codes.astype(np.int8), module.kept.numpy()
                result |= {f"{name}.weight": codes} if kept.all() else compress(name, codes, kept)
                result[f"{name}.weight_scale"] = scale
            case Monarch():
                right, left = module.factors()
                result |= {f"{name}.right": right.numpy().astype(np.float16), f"{name}.left": left.numpy().astype(np.float16)}
    return {f"model.{name}": np.ascontiguousarray(value) for name, value in result.items()}


def config(model: BitNet) -> dict[str, Any]:
    shape = model.shape
    return {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "dtype": "float32",
        "vocab_size": shape.vocabulary, "hidden_size": shape.dim, "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context, "hidden_act": "relu2", "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta, "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "attention_bias": False, "tie_word_embeddings": True, "bos_token_id": SEPARATOR_ID, "eos_token_id": SEPARATOR_ID,
        **stored_as(model),
    }


def stored_as(model: BitNet) -> dict[str, Any]:
    """The part of config.json that says how the linears are stored."""
    match model.shape.weights:
        case "ternary":
            return {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                            "quantization_mode": "offline", "modules_to_not_convert": ["lm_head"]}}
        case "monarch":
            return {"monarch": {"block": Monarch.block}}
    eight = {"num_bits": 8, "type": "int", "symmetric": True}
    kept = [module.kept.numpy() for module in model.modules() if isinstance(module, Int8)]
    table = {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
             "ignore": ["lm_head"], "config_groups": {"group_0": {
                 "targets": ["Linear"], "weights": {**eight, "strategy": "channel", "dynamic": False},
                 "input_activations": {**eight, "strategy": "token", "dynamic": True}}}}
    if not all(mask.all() for mask in kept):
        paired = all(map(two_of_four, kept))
        table["sparsity_config"] = {"format": "sparse-24-bitmask" if paired else "sparse-bitmask", "targets": ["Linear"],
                                    "ignore": ["lm_head"], "sparsity_structure": "2:4" if paired else "unstructured"}
    return {"quantization_config": table}


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
    model = BitNet(shape).requires_grad_(False)
    model.load_state_dict(state["model"])
    files = {
        "config.json": json.dumps(config(model), indent=2) + "\n",
        "generation_config.json": json.dumps({"bos_token_id": SEPARATOR_ID, "eos_token_id": SEPARATOR_ID}, indent=2) + "\n",
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SEPARATOR,
                                             "eos_token": SEPARATOR, "model_max_length": shape.context}, indent=2) + "\n",
        "tokenizer.json": (arguments.run / "tokenizer.json").read_text(encoding="utf-8"),
        "model.safetensors": safetensors.numpy.save(tensors(model), metadata={"format": "pt"}),
    }
    arguments.model.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(arguments.model / name) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    print(f"{arguments.model}: step {state['step']}, {sum(len(content) for content in files.values())} bytes")


if __name__ == "__main__":
    main()
