"""What tokens cost on the machine: a short run that is the same on every host, with its counters, time and energy.

    taken = take(program, make, Stretch(preset, prompt=1, tokens=128))

A program may have fewer layers than its model, all of them alike. Then it runs again with only two of its layers. It generates the
same tokens each time: the second time they are given to it. Counters, cycles and shares of a run grow with the layers along a
straight line, so each layer that is left out takes what those between the second and the last one take on average. To stay with
whole numbers, these are added as often as they fit; what then remains is the difference of a third run, with some layers more than
two. For layers of the same shape that is exact, but for what depends on values (zeros in weights, neurons that are left alone,
rounds of a clustering) and for the rule of banks, whose refreshes do not fall in step with layers. Where layers have code of
several kinds, such as those below --kv-select-from, those that are left out are of the last kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from compiler.errors import ModelError
from compiler.lowering.emit import LAYERS_LEFT
from compiler.lowering.emit import TOKEN as TOKEN_REGISTER
from compiler.measuring.measure import STRETCH, prompt_of
from compiler.running.generate import Maker
from compiler.running.parameters import set_parameters
from emulator.observe.breakdown import PREFILL, Breakdown, Part
from emulator.observe.cost import Cost, Other, energy_in
from emulator.observe.phases import Phases, as_json
from isa.preset import Preset
from isa.program import Program
from isa.reference import ReferenceMachine, Step
from isa.registers import NUMBER
from isa.services import Host
from isa.timing.clock import Clock

_BASE = 2                   # layers of the shorter run: with one, rows of banks would stay open from token to token
Clocks = Callable[[ReferenceMachine], list[tuple[str, Clock]]]
"""Has a machine keep further clocks, and returns them with what is changed."""


@dataclass(frozen=True)
class Stretch:
    """What is run: so many tokens of a prompt, then so many that are generated, always the most likely one.

    prompt   tokens; option: the one that says how many, for messages
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
    option: str = "--prompt"

    def within(self, program: Program) -> Stretch:
        """The same with a number of tokens. Raises ModelError if the program's context has no room for it."""
        context = program.meta["model"]["context"]
        room, hint = context - self.prompt + 1, "--context compiles for more positions"          # the last token needs no position
        if room < 1:
            raise ModelError("", self.option, got=str(self.prompt), expected=f"at most {context} (the context)", hint=hint)
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
    phases: dict[str, Part]             # what the machine did in prefill and decode

    @property
    def positions(self) -> int:
        """That were computed: not the one behind the last token."""
        return self.prompt + len(self.tokens) - 1

    def phase(self, name: str) -> dict[str, Any]:
        """A phase as JSON has it. Its rate is that of the prompt's tokens, or of those behind the first one."""
        behind = len(self.tokens) - 1
        positions, tokens = (self.prompt, 1) if name == PREFILL else (behind, behind)
        return {"positions": positions, "tokens": tokens,
                **as_json(self.phases[name], self.cost.preset, positions, self.cost.time is not None)}

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/json.md lists under bench, beside those of the host and `phases`."""
        return {"counters": self.counters, **self.cost.as_json(),
                "by": {self.breakdown.kind: self.breakdown.as_json()} if self.breakdown else None}


def take(program: Program, make: Maker, stretch: Stretch) -> Taken:
    """Run a program of a model that has no stop tokens. Raises ModelError for a stretch that its context has no room for."""
    stretch, present = stretch.within(program), program.meta["model"]["layers"]
    taken, left_out = _run(program, make, stretch, present), (stretch.layers or present) - present
    if not left_out:
        return taken
    base = max(_BASE, _last_kind(program))
    two = _run(program, make, stretch, base, taken.tokens)
    times, rest = divmod(left_out, present - base)
    whole = _plus(taken, times, taken, two)
    return _plus(whole, 1, _run(program, make, stretch, base + rest, taken.tokens), two) if rest else whole


def _run(program: Program, make: Maker, stretch: Stretch, layers: int, tokens: Sequence[int] = ()) -> Taken:
    """A run in which only the first `layers` are executed. `tokens`: the ones that it is to choose, none for its own choice."""
    card = program.meta["model"]
    machine = make(stretch.preset, Host())
    machine.load(program)
    phases = Phases(machine)
    machine.host = Host(prompt_of(program, stretch.prompt), emit=lambda _token: phases.emitted())
    set_parameters(machine, max_tokens=stretch.tokens)
    clocks = stretch.clocks(machine)
    breakdown = Breakdown(machine, stretch.by) if stretch.by else None
    if layers < card["layers"]:
        _shorten(machine, program, card["layers"], layers)
        choose(machine, program, tokens)
    result = machine.run().unless_interrupted()
    if result.exit_code != 0:
        raise ModelError("", "the measured run", got=str(result.trap or result.reason), expected="a run to the last token")
    if breakdown:
        breakdown.finish()
    emitted, machine.host = machine.host.tokens, Host()                 # lets go of `phases`, which has the machine
    return Taken(stretch.prompt, emitted, dict(machine.counters), Cost.of(machine, clocks), breakdown, phases.parts())


def _shorten(machine: ReferenceMachine, program: Program, all_layers: int, layers: int) -> None:
    """Where the first layer begins, let the register that counts them say fewer; or end the tables of layers earlier."""
    starts = {symbol.value for name in ("layer", "chunk_layer") if (symbol := program.symbol(name))}
    register = NUMBER[LAYERS_LEFT]

    def fewer(machine: ReferenceMachine, _step: Step) -> None:
        if machine.x[register] == all_layers:
            machine.x[register] = layers

    for prefix in ("", "chunk_"):
        if symbol := program.symbol(f"{prefix}layers"):
            machine.peek(symbol.value + 8 * layers, 8).view("<u8")[0] = program.address(f"{prefix}layers_done")
    machine.hook(fewer, lambda pc, _row: pc in starts)


def _last_kind(program: Program) -> int:
    """The layer from which on all have the same code; 0: all."""
    symbol, count = program.symbol("layers"), program.meta["model"]["layers"]
    section = program.section(symbol.section or "") if symbol else None
    if symbol is None or section is None:
        return 0
    codes = np.frombuffer(section.bytes(), "<u8", count, symbol.value - section.address)
    return int(np.flatnonzero(codes != codes[-1]).max(initial=-1)) + 1


def choose(machine: ReferenceMachine, program: Program, tokens: Sequence[int]) -> None:
    """Where a token has been chosen, put the next one of `tokens` in its place."""
    chosen, register, left = program.address("chosen"), NUMBER[TOKEN_REGISTER], iter(tokens)

    def other(machine: ReferenceMachine, _step: Step) -> None:
        machine.x[register] = next(left)

    machine.hook(other, lambda pc, _row: pc == chosen)


# ------------------------------------------------------------------------------------------------ layers that are left out


def _plus(taken: Taken, times: int, more: Taken, less: Taken) -> Taken:
    """taken + times * (more - less), where `more` and `less` are runs with different numbers of layers."""
    counters = _sum(taken.counters, times, more.counters, less.counters)
    cost, long, short = taken.cost, more.cost, less.cost
    time, energy = _sum(cost.time, times, long.time, short.time), None
    if time is not None:
        energy = energy_in(time, counters, cost.preset)
    what_if = {}
    for text, each in cost.what_if.items():
        other = _sum(each.time, times, long.what_if[text].time, short.what_if[text].time)
        what_if[text] = Other(other, None if each.energy is None else energy_in(other, counters, cost.preset))
    by = None
    if taken.breakdown and more.breakdown and less.breakdown:
        by = copy(taken.breakdown)
        by.parts = _sum(by.parts, times, more.breakdown.parts, less.breakdown.parts)
    return replace(taken, counters=counters, cost=Cost(cost.preset, time, energy, what_if), breakdown=by,
                   phases=_sum(taken.phases, times, more.phases, less.phases))


def _sum(to: Any, times: int, more: Any, less: Any) -> Any:
    """to + times * (more - less), of whole numbers, arrays, and records and dicts of them. What a dict lacks is 0."""
    match to:
        case None:
            return None
        case int():
            return to + times * (more - less)
        case np.ndarray():                                          # of unsigned numbers, modulo 2**64: signs come out right
            return to + np.uint64(times) * (more - less)
        case dict():
            return {name: _sum(value, times, more.get(name, 0), less.get(name, 0))
                    for name, value in {**dict.fromkeys(more, 0), **to}.items()}
    return replace(to, **{field.name: _sum(getattr(to, field.name), times, getattr(more, field.name), getattr(less, field.name))
                          for field in fields(to)})
