"""What tokens cost on the machine: a short run that is the same on every host, with its counters, time and energy.

    taken = take(program, make, Stretch(preset, prompt=1, tokens=128))

A program may have fewer layers than its model, all of them alike. Then it runs twice, with all its layers and with one less. It
generates the same tokens both times: the second time they are given to it. Counters, cycles and shares of a run grow with the
layers along a straight line: each layer that is left out takes what the last one took. For layers of the same shape that is exact,
but for what depends on values (zeros in weights, neurons that are left alone) and for the rule of banks, whose refreshes do not
fall in step with layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from compiler.errors import ModelError
from compiler.lowering.emit import LAYERS_LEFT
from compiler.lowering.emit import TOKEN as TOKEN_REGISTER
from compiler.measuring.measure import STRETCH, TOKEN
from compiler.running.generate import Maker
from compiler.running.parameters import set_parameters
from emulator.observe.breakdown import Breakdown
from emulator.observe.cost import Cost
from isa.energy import energy_of
from isa.preset import Preset
from isa.program import Program
from isa.reference import ReferenceMachine, Step
from isa.registers import NUMBER
from isa.services import Host
from isa.timing.clock import Clock

Clocks = Callable[[ReferenceMachine], list[tuple[str, Clock]]]
"""Has a machine keep further clocks, and returns them with what is changed."""


@dataclass(frozen=True)
class Stretch:
    """What is run: so many tokens of a prompt, then so many that are generated, always the most likely one.

    tokens   None: STRETCH, or as many as the context has room for
    layers   of the model; None: as many as the program has
    clocks   has the machine keep further ones; by: what a Breakdown splits by, None for none
    """

    preset: Preset
    prompt: int = 1
    tokens: int | None = None
    layers: int | None = None
    clocks: Clocks = lambda machine: []
    by: str | None = None

    def within(self, program: Program) -> Stretch:
        """The same with a number of tokens. Raises ModelError if the program's context has no room for it."""
        context = program.meta["model"]["context"]
        room, hint = context - self.prompt + 1, "--context compiles for more positions"          # the last token needs no position
        if room < 1:
            raise ModelError("", "--prompt-tokens", got=str(self.prompt), expected=f"at most {context} (the context)", hint=hint)
        if self.tokens is not None and self.tokens > room:
            raise ModelError("", "--tokens", got=str(self.tokens), hint=hint,
                             expected=f"at most {room}: the context has {context} positions, {self.prompt} for the prompt")
        return replace(self, tokens=self.tokens or min(STRETCH, room))


@dataclass(frozen=True)
class Taken:
    """What a stretch has taken. Without a clock `cost` has no time and no energy."""

    prompt: int
    tokens: list[int]
    counters: dict[str, int]
    cost: Cost
    breakdown: Breakdown | None

    @property
    def positions(self) -> int:
        """That were computed: not the one behind the last token."""
        return self.prompt + len(self.tokens) - 1

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/json.md lists under bench, beside those of the host."""
        return {"prompt_tokens": self.prompt, "counters": self.counters, **self.cost.as_json(),
                "by": {self.breakdown.kind: self.breakdown.as_json()} if self.breakdown else None}


def take(program: Program, make: Maker, stretch: Stretch) -> Taken:
    """Run a program of a model that has no stop tokens. Raises ModelError for a stretch that its context has no room for."""
    stretch, present = stretch.within(program), program.meta["model"]["layers"]
    taken, left_out = _run(program, make, stretch, present), (stretch.layers or present) - present
    if not left_out:
        return taken
    return _with_more_layers(taken, _run(program, make, stretch, present - 1, taken.tokens), left_out)


def _run(program: Program, make: Maker, stretch: Stretch, layers: int, tokens: Sequence[int] = ()) -> Taken:
    """A run in which only the first `layers` are executed. `tokens`: the ones that it is to choose, none for its own choice."""
    card = program.meta["model"]
    machine = make(stretch.preset, Host((TOKEN + i) % card["vocab"] for i in range(stretch.prompt)))
    machine.load(program)
    set_parameters(machine, max_tokens=stretch.tokens)
    clocks = stretch.clocks(machine)
    breakdown = Breakdown(machine, stretch.by) if stretch.by else None
    if layers < card["layers"]:
        _shorten(machine, program, card["layers"], layers)
        _choose(machine, program, tokens)
    result = machine.run().unless_interrupted()
    if result.exit_code != 0:
        raise ModelError("", "the measured run", got=str(result.trap or result.reason), expected="a run to the last token")
    if breakdown:
        breakdown.finish()
    return Taken(stretch.prompt, machine.host.tokens, dict(machine.counters), Cost.of(machine, clocks), breakdown)


def _shorten(machine: ReferenceMachine, program: Program, all_layers: int, layers: int) -> None:
    """Where the first layer begins, let the register that counts them say fewer."""
    start, register = program.address("layer"), NUMBER[LAYERS_LEFT]

    def fewer(machine: ReferenceMachine, _step: Step) -> None:
        if machine.x[register] == all_layers:
            machine.x[register] = layers

    machine.hook(fewer, lambda pc, _row: pc == start)


def _choose(machine: ReferenceMachine, program: Program, tokens: Sequence[int]) -> None:
    """Where a token has been chosen, put the next one of `tokens` in its place."""
    chosen, register, left = program.address("chosen"), NUMBER[TOKEN_REGISTER], iter(tokens)

    def other(machine: ReferenceMachine, _step: Step) -> None:
        machine.x[register] = next(left)

    machine.hook(other, lambda pc, _row: pc == chosen)


# ------------------------------------------------------------------------------------------------ layers that are left out


def _with_more_layers(more: Taken, less: Taken, times: int) -> Taken:
    """What a run with `times` layers more than `more` takes, where `less` has one layer less."""
    counters = _line(more.counters, less.counters, times)
    long, short = more.cost, less.cost
    time, energy = _line(long.time, short.time, times), None
    if time is not None:
        energy = energy_of(counters, long.preset, Fraction(time.cycles, time.clock_hz))
    what_if = {text: _line(other, short.what_if[text], times) for text, other in long.what_if.items()}
    if more.breakdown and less.breakdown:
        for name, part in more.breakdown.parts.items():
            if other := less.breakdown.parts.get(name):
                part.cycles, part.times = (_line(a, b, times) for a, b in ((part.cycles, other.cycles), (part.times, other.times)))
                part.counts += np.uint64(times) * (part.counts - other.counts)          # modulo 2**64, so signs are right
    return replace(more, counters=counters, cost=Cost(long.preset, time, energy, what_if))


def _line(more: Any, less: Any, times: int) -> Any:
    """more + times * (more - less), of whole numbers and of records and dicts of them. What one of two dicts lacks is 0."""
    if isinstance(more, int):
        return more + times * (more - less)
    if isinstance(more, dict):
        return {name: _line(more.get(name, 0), less.get(name, 0), times) for name in {**more, **less}}
    return None if more is None else replace(more, **{
        field.name: _line(getattr(more, field.name), getattr(less, field.name), times) for field in fields(more)})
