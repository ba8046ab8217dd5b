"""Speed of generation on this host: random models of known shapes, decoded greedily on one thread, without a clock.

See compiler/measuring/measure.py.

Prints one JSON object: seconds to compile and to the first token, tokens/s beside the bandwidth of this run, memory, time by unit.
"""

from __future__ import annotations

import json
import subprocess
import sys

RUNS = ("15m", "125m", "730m", "125m --machine hpim --weights i8", "125m --machine hpim --weights f16")
KEPT = ("tokens_per_second", "best_tokens_per_second", "tokens_per_cpu_second", "weight_bytes_per_second", "bandwidth",
        "share_of_bandwidth", "resident_bytes", "resident_beyond_weights", "seconds_to_first_token", "compile_seconds", "units")


def main() -> None:
    figures = {}
    for run in RUNS:            # a process each: memory is that of one model
        name, *options = run.split()
        command = [sys.executable, "-m", "slimulator", "bench", "--shape", name, *options, "--no-time", "--json", "-"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        measured = json.loads(done.stdout)["shapes"][name]
        title = f"{name} {measured['weights']}" + f" {measured['machine']}" * bool(options)
        figures[title] = {key: measured[key] for key in KEPT if measured[key] is not None}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
