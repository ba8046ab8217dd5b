"""SlimInfer: a prompt whose tokens are left out before three layers, beside the same prompt in full.

Width, prompt and budgets of Llama-3.1-8B with 32K tokens are scaled together to an eighth, so that the shares of linears and of
attention stay. A program of four layers is executed, one for each segment: a layer costs what its tokens cost, whatever its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.compile import compile_model
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import Config, Model, Rope, roles
from compiler.passes.prune_tokens import NAMED, parse_prune_tokens
from compiler.running.alive import tokens_alive
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from emulator.observe.breakdown import OUTSIDE, Breakdown
from isa.program import Program
from isa.services import Host
from slimulator.validate.checks import Check
from slimulator.validate.layers import AlikeTensor

LAYERS, DIM, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, PROMPT = 32, 512, 1792, 16, 4, 32, 4096
_PAPER = "SlimInfer, arXiv 2508.06447"
_INFERRED = "layers 10, 20, 30 and budgets of 8,192, 4,096, 2,048 of 32K tokens: inferred from these very figures"
_KNOWN = "widths, prompt and budgets are an eighth of Llama-3.1-8B's with 32K tokens; blocks, units and scores are ours"


def model() -> Model:
    """Four layers: one in front of the cuts, one behind each."""
    config = Config("made up", 64, DIM, 4, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, PROMPT, 1e-5,
                    rope=Rope.plain(HEAD_DIM, 1e4, adjacent=True), tied=True)
    return Model(Path("layers"), config, {
        role: AlikeTensor(role, shape, WEIGHT_FORMATS["f32"]) for role, shape in roles(config)})


@dataclass(frozen=True)
class Prompt:
    """What a prompt takes to its first token, in all LAYERS: multiply-accumulates, seconds, joules; tokens that each layer sees."""

    macs: float
    seconds: float
    joules: float
    tokens: tuple[int, ...]

    @property
    def kv(self) -> float:
        """Keys and values of a layer, on average, in tokens."""
        return sum(self.tokens) / len(self.tokens)


def prompts(length: int) -> tuple[Prompt, Prompt]:
    """A prompt in full, and with tokens left out. The first of the four layers sees all: it stands for those of the full one too.

    Raises RuntimeError if the run ends early.
    """
    budgets = [budget for _, budget in parse_prune_tokens(NAMED).cuts(replace(model().config, layers=LAYERS), PROMPT)]
    asked = parse_prune_tokens(",".join(f"{layer}:{budget}" for layer, budget in enumerate(budgets, 1)))
    times = (10, 10, 10, 2)                 # layers of each segment
    with TemporaryDirectory() as folder:
        compiled = compile_model(replace(model(), prune_tokens=asked), machine="slim", kv="f16", context=PROMPT)
        compiled.save(Path(folder) / "layers.elf")
        program = Program.load(Path(folder) / "layers.elf")
        runs = Machine(compiled.machine, Host([3 + token % 60 for token in range(length)]))
        runs.load(program)
        set_parameters(runs, max_tokens=0)
        look = Breakdown(runs, "layer")
        result = runs.run()
        look.finish()
    alive = tokens_alive(runs, program)
    if result.reason != "exit" or result.exit_code or runs.time is None or alive is None:
        raise RuntimeError(f"a prompt on {compiled.machine.name} ended with {result.reason} {result.exit_code} {result.trap or ''}")
    parts = look.as_json()
    outside = parts[OUTSIDE]

    def of(layers: tuple[int, ...]) -> Prompt:
        def total(what: str) -> float:
            whole: float = sum(count * parts[f"layer {layer}"][what] for layer, count in enumerate(layers) if count) + outside[what]
            return whole

        tokens = [alive.layers[layer] for layer, count in enumerate(layers) for _ in range(count)]
        return Prompt(total("macs"), total("seconds"), total("joules"), tuple(tokens))

    return of((LAYERS, 0, 0, 0)), of(times)


def checks() -> Iterator[Check]:
    """All rows, in order."""
    executed = f"4 of {LAYERS} layers of width {DIM}, {{length:,}} tokens, times their number; on slim"
    full, cut = prompts(PROMPT)
    quarter, short = prompts(PROMPT // 4)
    row = partial(Check, "SlimInfer", assumed=_KNOWN)
    said = executed.format(length=PROMPT)
    yield row("multiply-accumulates to the first token: all / those executed", "times", 2.53, 2.53, full.macs / cut.macs, said,
              fitted=_INFERRED, source=f"{_PAPER}: time to first token, up to 2.53 times")
    for what, both, published, length in (("the prompt", (full, cut), 56.6, PROMPT),
                                          ("a quarter of the prompt", (quarter, short), 20.3, PROMPT // 4)):
        yield row(f"keys and values of {what}, fewer", "%", published, published, 100 * (1 - both[1].kv / both[0].kv),
                  executed.format(length=length), fitted=_INFERRED, source=f"{_PAPER} (third-party note): 20.3 to 56.6 % fewer")
    yield row("time to the first token: all / left out", "times", None, None, full.seconds / cut.seconds, said,
              source=f"{_PAPER}: up to 2.53 times on an RTX 4090")
    yield row("energy to the first token: all / left out", "times", None, None, full.joules / cut.joules, said, source=_PAPER)
    yield row("whole requests: all / left out", "times", 1.88, 1.88, None,
              "nothing: how many tokens were generated is not said", source=f"{_PAPER}: 1.88 times end to end")
