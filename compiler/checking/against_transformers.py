"""Our float graph against the transformers library on the same checkpoint: step 1 of the chain of trust (verify_chain.py).

    comparison = compare(model, tokens)         raises NotLoaded where transformers does not run the checkpoint

Logits are compared at every position. fp32 sums in another order differ by about a millionth: TOLERANCE is a hundred times that.

A model that rounds inside needs more. If a number lies on a tie, two right answers differ by a whole step, and the difference
spreads through the next layers. So both sides are compared at each rounding: its inputs, and its codes, which may differ by one
only on a tie. Then our graph continues with the codes of transformers. So every part between two roundings is compared alone, and
a difference in it is a fault. BitNet rounds the inputs of its linears to int8 codes and, if a checkpoint has float masters, its
weights to ternary codes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.frontends.huggingface import module_name
from compiler.graph import Executor, Op, graph_of, role_of
from compiler.model.model import Model
from isa.text import counted

TOLERANCE = 1e-4            # of a vector's elements, relative to its greatest
MOST = 127                  # the greatest int8 code: a step is as many times smaller than the greatest element
TIE = 1e-5                  # distance from a tie, in steps, within which a ternary weight may be the neighbour's


class NotLoaded(Exception):
    """transformers, or what it needs, is not there or does not run this checkpoint. The text says which."""


@dataclass
class Comparison:
    """What was compared. `fault`: the first thing that is wrong, in words; "" if nothing is.

    difference  the greatest difference of logits and of inputs of roundings, relative to the greatest element of the vector
    roundings   vectors that were compared before they were rounded to int8; codes: their elements
    flips       codes that lay on a tie and differ by one; weight_flips: ternary weights of this kind
    """

    positions: int
    difference: float = 0.0
    roundings: int = 0
    codes: int = 0
    flips: int = 0
    weight_flips: int = 0
    fault: str = ""

    def see(self, ours: Any, theirs: Any, what: str) -> None:
        """Compare two vectors. The first ones that differ too much are the fault."""
        with np.errstate(invalid="ignore", divide="ignore"):
            worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max()) if np.any(ours != theirs) else 0.0
        if not worst <= TOLERANCE and not self.fault:           # a NaN is a fault
            self.fault = f"{what} differ by {worst:.1e} (relative; limit {TOLERANCE:g})"
        self.difference = max(self.difference, worst)

    def round(self, x: Any, codes: Any, scale: Any, theirs: Any, what: str) -> None:
        """Compare int8 codes of x: on a tie they may differ by one. Their scale is the step."""
        steps = np.abs(x) * (MOST / max(float(np.abs(x).max()), 1e-30))
        other = codes != theirs
        wrong = other & ~((np.abs(codes.astype(int) - theirs) == 1) & (np.abs(steps % 1 - 0.5) <= MOST * TOLERANCE))
        if wrong.any() and not self.fault:
            at = int(np.flatnonzero(wrong)[0])
            self.fault = f"{what}: code {at} of {x[at]:g} is {codes[at]}, expected {theirs[at]}"
        self.see(scale * MOST, np.abs(x).max(), f"{what}: scales")
        self.roundings, self.codes, self.flips = self.roundings + 1, self.codes + len(codes), self.flips + int(other.sum())

    def __str__(self) -> str:
        if self.fault:
            return self.fault
        found = f"logits of {counted(self.positions, 'position')}"
        if self.roundings:
            found += f" and {counted(self.roundings, 'input', ',')} of int8 rounding"
        ties = [f"{count:,} {what}" for count, what in ((self.flips, f"of {self.codes:,} codes"),
                                                        (self.weight_flips, "ternary weights")) if count]
        return (f"{found} differ by {self.difference:.1e} (relative; limit {TOLERANCE:g})"
                + (f"\n{' and '.join(ties)} lie on a tie: the graph continues with transformers' choice" if ties else ""))


def compare(model: Model, tokens: Sequence[int]) -> Comparison:
    """Run both on the tokens. Raises NotLoaded, ModelError."""
    library = _Library(model, tokens)
    result = Comparison(len(tokens), fault=library.fault, weight_flips=library.weight_flips)
    executor = Executor(graph_of(model), model)
    readers = {op.inputs[0]: op.weights[0] for op in reversed(executor.graph.bodies[0].ops) if op.kind == "gemv.i8"}

    def observe(layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        if op.kind != "quantise" or result.fault:
            return
        role = readers[op.outputs[0]]
        x, (codes, scale) = executor.values[op.inputs[0]], results
        theirs = library.inputs[role_of(role, layer)]
        what = f"token {executor.position}, layer {layer}: inputs of {role.removeprefix('layer.')}"
        result.see(x, theirs.values[executor.position], what)
        result.round(x, codes, scale, theirs.codes[executor.position], what)
        executor.values[op.outputs[0]] = theirs.codes[executor.position]

    executor.observe = observe
    for position, token in enumerate(tokens):
        if result.fault:
            break
        ours = executor.step(token)
        result.see(ours, library.logits[position, :len(ours)], f"token {position}: logits")
    return result


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a linear of transformers, and the int8 codes that it makes of them: (tokens, n) each."""

    values: Any
    codes: Any


@contextmanager
def _theirs() -> Iterator[None]:
    """Any error of the library becomes NotLoaded: it says nothing about our graph."""
    try:
        yield
    except Exception as error:
        raise NotLoaded(f"transformers does not run this checkpoint: {str(error).splitlines()[0][:200]}") from error


class _Library:
    """What transformers computes for the tokens: `logits` (tokens, vocab) and, if activations are int8, the `inputs` of linears by
    role. `fault`: what is wrong with weights that it makes ternary.
    """

    def __init__(self, model: Model, tokens: Sequence[int]) -> None:
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")     # unpacking BitNet's weights would ask for a C++ compiler
        try:
            import torch
            import transformers
        except ImportError:
            raise NotLoaded("needs transformers and torch: pip install '.[oracle]'") from None
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        self.inputs: dict[str, _Inputs] = {}
        self.fault, self.weight_flips = "", 0
        with _theirs():
            library = transformers.AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32, local_files_only=True)
        with torch.no_grad():
            for role, module in self._linears(model, library):
                module.register_forward_pre_hook(lambda module, inputs, role=role: self._see(role, module, inputs[0]))
                if getattr(module, "online_quant", False):
                    self._same_codes(model, role, module)
            with _theirs():
                self.logits = np.asarray(library.eval()(torch.tensor([list(tokens)])).logits[0].float())

    def _linears(self, model: Model, library: Any) -> Iterator[tuple[str, Any]]:
        if model.config.int8_activations:
            for role, tensor in model.tensors.items():
                if role.startswith("layers.") and len(tensor.shape) == 2:
                    yield role, library.get_submodule(module_name(model.config, role))

    def _see(self, role: str, module: Any, x: Any) -> None:
        """Called before a linear works on x (1, tokens, n)."""
        from transformers.integrations.bitnet import ActQuant

        if hasattr(module, "activation_quant"):
            codes = module.activation_quant(x)[0]
        else:                                       # codes times their step
            codes = (ActQuant.apply(x) * (MOST / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-30))).round()
        self.inputs[role] = _Inputs(x[0].numpy(), codes[0].numpy().astype(np.int8))

    def _same_codes(self, model: Model, role: str, module: Any) -> None:
        """Compare our ternary weights with those that the module makes of its masters. If some lie on a tie it gets ours."""
        import torch
        from transformers.integrations.bitnet import WeightQuant

        theirs, masters, tensor = WeightQuant.apply(module.weight).numpy(), module.weight.numpy(), model.tensor(role)
        step, flips = float(np.abs(theirs).max()), 0
        for first, last in tensor.blocks():
            ours, wanted = tensor.rows(first, last), theirs[first:last]
            other = np.abs(ours - wanted) > TOLERANCE * step
            if wrong := np.argwhere(other & (np.abs(np.abs(masters[first:last]) / step - 0.5) > TIE))[:1].tolist():
                row, col = wrong[0]
                self.fault = self.fault or (f"weights of {role}: [{first + row}, {col}] is {ours[row, col]:g}, "
                                            f"expected {wanted[row, col]:g}")
            flips += int(np.count_nonzero(other))
        if flips and not self.fault:
            self.weight_flips += flips
            module.weight.copy_(torch.from_numpy(np.concatenate([tensor.rows(*block) for block in tensor.blocks()])))
            module.online_quant, module.weight_scale = False, torch.ones(1)
