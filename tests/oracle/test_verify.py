"""The first check of `slimulator verify`, the float graph against transformers: it passes, and it can fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import TernaryTensor
from transformers_models import LLAMA, MODES, SHORT, SIZES, TOKENS, make, our_logits, save_bitnet, their_logits, torch, transformers

from compiler.checking.against_transformers import TOLERANCE, Comparison
from compiler.checking.verify_chain import float_graph
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends import load
from compiler.graph import Executor
from compiler.model.model import Model, Rope
from compiler.model.tensors import AbsmeanTensor


def test_the_float_graph_is_held_to_transformers(tmp_path: Path) -> None:
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    check = float_graph(load(tmp_path), TOKENS)
    assert check.verdict == "pass" and check.figures["largest_relative_difference"] < 1e-5


def test_another_model_fails(tmp_path: Path) -> None:
    """Opened with one base of the positions' angles, compared with another."""
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    model = load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 37.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    check = float_graph(model, TOKENS)
    assert check.verdict == "FAIL" and "differ by" in check.text


def test_what_transformers_does_not_load_is_not_checked(tmp_path: Path) -> None:
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    model = load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    check = float_graph(model, TOKENS)
    assert check.verdict == "not checked" and "transformers does not run this checkpoint" in check.text

# ------------------------------------------------------------------------------------------------ models that round inside


def save_masters(folder: Path, masters: Any = None, **sizes: Any) -> Path:
    """A BitNet as it is trained: transformers' own random start, bf16 masters that become ternary when they are used."""
    from safetensors.torch import save_file

    config = transformers.BitNetConfig(**{**SIZES, "tie_word_embeddings": True, **sizes})
    torch.manual_seed(0)
    model = transformers.BitNetForCausalLM(config)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    for name in [name for name in state if masters and name.endswith("_proj.weight")]:
        state[name] = masters(state[name])
    config.architectures = ["BitNetForCausalLM"]
    config.quantization_config = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}
    config.save_pretrained(folder)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(("shape", "count"), [((640, 10, 1728, 10), 2), ((160, 30, 432, 20), 6)], ids=["640x10", "2B-4T_depth"])
def test_a_code_on_a_tie_is_no_fault(shape: tuple[int, ...], count: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Left alone, the logits of the two differ by some hundredths: one code that is another spreads through all layers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)                # their sums, and so what lies on a tie, depend on it
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    sizes = {**dict(zip(names, shape, strict=True)), "num_key_value_heads": 5}
    save_masters(tmp_path, **sizes)
    check = float_graph(load(tmp_path), TOKENS[:count])
    assert check.verdict == "pass" and check.figures["largest_relative_difference"] < 1e-5
    assert check.figures["codes_on_a_tie"] > 0 and " of " in check.text and "lie on a tie" in check.text
    assert check.figures["roundings"] == count * 4 * sizes["num_hidden_layers"]
    theirs = their_logits(transformers.BitNetForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), TOKENS[:count])
    apart = np.abs(our_logits(tmp_path, TOKENS[:count]) - theirs).max() / np.abs(theirs).max()
    assert apart > 10 * TOLERANCE, "no tie in this model: the test says nothing"


def test_a_ternary_weight_on_a_tie_is_no_fault(tmp_path: Path) -> None:
    """Masters a and 3a in equal parts: a is half the mean, and the last bit of a sum in fp32 decides whether it is 0 or 1."""
    def masters(weight: Any) -> Any:
        a = torch.full((weight.numel() // 2,), float(weight.abs().max()))
        return (torch.cat([a, 3 * a])[torch.randperm(weight.numel())] * torch.sign(weight.float().flatten())).reshape(weight.shape)

    save_masters(tmp_path, masters, **LLAMA, dtype=torch.float32)
    model = load(tmp_path)
    for role, tensor in model.tensors.items():
        if isinstance(tensor, AbsmeanTensor):           # the mean's next number: as good an answer
            tensor.__dict__["_inverse"] = np.nextafter(tensor._inverse, np.float32(9 if "q" in role else 0))
    check = float_graph(model, SHORT)
    assert check.verdict == "pass" and check.figures["weights_on_a_tie"] > 1000 and "ternary weights" in check.text


def other_weight(model: Model, role: str, values: Any) -> Model:
    """The model with other codes in one matrix."""
    tensor = model.tensor(role)
    codes = tensor.codes()
    return replace(model, tensors={**model.tensors, role: TernaryTensor(
        role, tensor.shape, WEIGHT_FORMATS["t2"], values=values(codes.values), scale=float(codes.scales[0, 0]))})


def another_at_5(codes: Any) -> Any:
    """Codes with one that is another: the sixth of the first row."""
    return np.where(np.arange(codes.size).reshape(codes.shape) == 5, (codes + 2) % 3 - 1, codes)


# What may be wrong with a frontend or a graph, and where it is found first.
FAULTS: dict[str, tuple[Callable[[Model], Model], str]] = {
    "eps":        (lambda m: replace(m, config=replace(m.config, eps=1e-3)), "layer 0: inputs of q differ"),
    "activation": (lambda m: replace(m, config=replace(m.config, activation="silu")), "layer 0: inputs of down differ"),
    "sub_norms":  (lambda m: replace(m, config=replace(m.config, sub_norms=False)), "layer 0: inputs of o differ"),
    "rope":       (lambda m: replace(m, config=replace(m.config, rope=Rope(m.config.rope.frequencies, adjacent=True))),  # type: ignore
                   "token 1, layer 0: inputs of o differ"),
    "transposed": (lambda m: other_weight(m, "layers.1.q", lambda codes: codes.T.copy()), "layer 1"),
    "one_weight": (lambda m: other_weight(m, "layers.1.o", another_at_5), ""),
    "gain":       (lambda m: replace(m, tensors={**m.tensors, "final_norm": m.tensors["layers.0.ffn_norm"]}),
                   "token 0: logits differ"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_arises(fault: str, mode: str, tmp_path: Path) -> None:
    """In a model with int8 activations, whose roundings are brought together: nothing is forgiven for that."""
    save_bitnet(tmp_path, mode, 1)
    model = load(tmp_path)
    assert float_graph(model, SHORT).verdict == "pass"
    change, place = FAULTS[fault]
    check = float_graph(change(model), SHORT)
    if mode == "online" and fault in ("transposed", "one_weight"):
        place = "weights of layers.1."
    assert check.verdict == "FAIL" and place in check.text


@pytest.mark.parametrize(("wrong", "said"), [
    (lambda codes, scale: (np.floor(codes + 0.4).astype(np.int8) - (codes > 100), scale), "inputs of q: code"),
    (lambda codes, scale: (codes, scale * np.float32(1.01)), "inputs of q: scales differ")], ids=["codes", "scale"])
def test_a_wrong_rounding_is_found(wrong: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_bitnet(tmp_path, "online", 1)
    original = Executor._quantise
    monkeypatch.setattr(Executor, "_quantise", lambda executor, x: wrong(*original(executor, x)))
    check = float_graph(load(tmp_path), SHORT)
    assert check.verdict == "FAIL" and said in check.text


@pytest.mark.parametrize(("theirs", "said"), [
    ((127, 10, 3), ""), ((127, 11, 3), ""), ((127, 12, 3), "code 1 of 10.5 is 10, expected 12"),
    ((127, 10, 4), "code 2 of 3.2 is 3, expected 4"), ((127, -10, 3), "code 1 of 10.5 is 10, expected -10")])
def test_on_a_tie_a_code_may_be_the_neighbour_and_nothing_else(theirs: tuple[int, ...], said: str) -> None:
    found = Comparison(1)
    found.round(np.array([127, 10.5, 3.2], np.float32), np.array([127, 10, 3], np.int8), np.float32(1), np.array(theirs), "x")
    assert said in found.fault if said else not found.fault
    assert found.flips == (theirs != (127, 10, 3))
