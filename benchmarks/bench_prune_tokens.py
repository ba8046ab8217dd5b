"""What tokens that are left out save on this host: a prompt in full, and cut, on the fast engine. Prints one JSON object.

Both are the programs of slimulator/validate/sliminfer.py at half of its width: four layers, 2,048 tokens, budgets of 512, 256, 128.
`macs` is how many times fewer multiply-accumulates are executed, `seconds` how many times less CPU time the run takes: the best of
ROUNDS. The two should agree within 15 %.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.compile import compile_model
from compiler.model.model import Model, roles
from compiler.passes.prune_tokens import parse_prune_tokens
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host
from slimulator.validate import sliminfer
from slimulator.validate.layers import AlikeTensor

ROUNDS, TOKENS, CUTS = 3, 2048, "1:512,2:256,3:128"


def half() -> Model:
    """The model of the validation, half as wide."""
    whole = sliminfer.model()
    config = replace(whole.config, dim=256, hidden=896, heads=8, kv_heads=2, context=TOKENS)
    return replace(whole, config=config, tensors={
        role: AlikeTensor(role, shape, whole.tensors[role].format) for role, shape in roles(config)})


def run(cuts: str | None) -> tuple[float, int]:
    """(CPU seconds of the prompt, multiply-accumulates)."""
    asked = parse_prune_tokens(cuts) if cuts else None
    with TemporaryDirectory() as folder:
        compiled = compile_model(replace(half(), prune_tokens=asked), kv="f16", context=TOKENS)
        compiled.save(Path(folder) / "prompt.elf")
        program, seconds, macs = Program.load(Path(folder) / "prompt.elf"), list[float](), 0
        for _ in range(ROUNDS):
            machine = Machine(compiled.machine, Host([3 + token % 60 for token in range(TOKENS)]), time=False)
            machine.load(program)
            set_parameters(machine, max_tokens=0)
            start = time.process_time()
            machine.run().unless_interrupted()
            seconds.append(time.process_time() - start)
            macs = sum(count for name, count in machine.counters.items() if name.endswith(".macs"))
    return min(seconds), macs


def main() -> None:
    (whole, every), (cut, executed) = run(None), run(CUTS)
    print(json.dumps({"tokens": TOKENS, "cuts": CUTS, "seconds_whole": whole, "seconds_cut": cut, "macs": every / executed,
                      "seconds": whole / cut, "beside": (whole / cut) / (every / executed) - 1}, indent=2))


if __name__ == "__main__":
    main()
