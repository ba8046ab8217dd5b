"""What a token of a text costs a program on its machine: bytes of each memory, time, energy. Executed, not estimated.

    cost = token_cost(program, make, document.tokens)

The program reads the start of the text as a prompt, and then generates. Where it has chosen a token, the next one of the text takes
its place: so all programs that are compared do the same tokens, one after the other, as in `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from compiler.errors import ModelError
from compiler.measuring.on_machine import choose
from compiler.running.generate import Maker
from compiler.running.parameters import set_parameters
from emulator.observe.breakdown import DECODE
from emulator.observe.phases import Phases
from isa.counters import COUNTERS
from isa.energy import energy_of
from isa.preset import Preset
from isa.program import Program
from isa.services import Host

MEASURED = 16               # tokens, if the text has as many
BEHIND = 128                # tokens of the text before them, at most


@dataclass(frozen=True)
class TokenCost:
    """The average of `tokens` tokens, which begin behind `behind` tokens of the text.

    bytes_read     by memory, of those that were read
    seconds        None where the machine gives no rates; joules: or no energies
    """

    tokens: int
    behind: int
    bytes_read: dict[str, float]
    seconds: float | None
    joules: float | None

    def as_json(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "behind": self.behind, "bytes_read": self.bytes_read, "seconds": self.seconds,
                "joules": self.joules}


def token_cost(program: Program, make: Maker, preset: Preset, text: Sequence[int], prompt: int = 1) -> TokenCost:
    """Run a program of a model on the tokens of a text, two or more; `make` makes machines that keep a clock.

    prompt  the tokens of the text that are its prompt, if they are more than BEHIND

    Raises ModelError if the program does not get to the end.
    """
    context = program.meta["model"]["context"]
    count = min(MEASURED, max(1, len(text) - 2))
    behind = max(1, min(max(BEHIND, prompt), context - count, len(text) - 1 - count))
    machine, following = make(preset, Host()), list(text[behind:behind + count + 1])
    machine.load(program)
    phases = Phases(machine)
    machine.host = Host(text[:behind], emit=lambda _token: phases.emitted())
    set_parameters(machine, max_tokens=count + 1, stop=[])
    choose(machine, program, following + following[-1:] * (count + 1 - len(following)))
    result = machine.run().unless_interrupted()
    timed, machine.host = machine.time is not None, Host()             # lets go of `phases`, which has the machine
    if result.exit_code != 0:
        raise ModelError("", "the measured tokens", got=str(result.trap or result.reason), expected="a run to the last one")
    part = phases.parts()[DECODE]
    counters = {name: int(part.counts[counter.slot]) for name, counter in COUNTERS.items()}
    read = {region.name: counters[f"{region.name}.bytes_read"] / count for region in preset.regions
            if counters.get(f"{region.name}.bytes_read")}
    seconds = Fraction(part.cycles, preset.clock_hz)
    energy = energy_of(counters, preset, seconds) if timed else None
    return TokenCost(count, behind, read, float(seconds / count) if timed else None,
                     energy.joules / count if energy else None)
