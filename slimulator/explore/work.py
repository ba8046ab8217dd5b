"""The work of one point, in whatever process: compile, then run, score, count. What comes back is data that JSON can hold.

A refusal (the compiler's, the machine's) is a result. So is an error of ours: `failed`, with its traceback, for that point alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from slimulator.explore.plan import Job, one_line

Record = dict[str, Any]
DONE, REFUSED, FAILED, INTERRUPTED = "done", "refused", "failed", "interrupted"
COMPILED = "compiled"


def compile_point(job: Job, store: str = "") -> Record:
    """The program of a point: its file, the hash of its contents and its size, or why there is none.

    store   the URL of what workers share (store.py), "" for nothing
    """
    return _guarded(partial(_compiled, job, store))


def run_point(job: Job, program: str, digest: str = "", store: str = "") -> Record:
    """The results of a point. `program`: its file, of this hash; one that is not here comes from the store, or is compiled."""
    def work() -> Record:
        from slimulator.explore.store import store_of
        shared = store_of(store) if store else None
        path = Path(program)
        if not path.exists():
            path = (shared.program(digest) if shared else None) or Path(_compiled(job)["program"])
        record = _ran(job, path)
        if shared:
            shared.send_kernels()
        return record

    return _guarded(work)


def _guarded(work: Callable[[], Record]) -> Record:
    from compiler.errors import ModelError
    from isa.preset import PresetError
    from isa.program import ProgramError
    try:
        return work()
    except (ModelError, PresetError, ProgramError) as error:
        if isinstance(error, ModelError):
            error = ModelError("", error.place, got=error.got, expected=error.expected, hint=error.hint)    # the row has the model
        return {"status": REFUSED, "reason": one_line(error)}
    except MemoryError:
        return {"status": FAILED, "reason": "out of memory"}
    except OSError as error:
        return {"status": FAILED, "reason": f"{error.filename or 'a file'}: {error.strerror or error}"}
    except Exception as error:
        return {"status": FAILED, "reason": f"an error of Slimulator: {type(error).__name__}: {error}",
                "traceback": traceback.format_exc()}


def _compiled(job: Job, store: str = "") -> Record:
    from compiler.measuring.shapes import compile_random
    from compiler.running.cache import content
    from compiler.running.generate import find_program
    layers = None
    if job.random:
        made = compile_random(job.shape or str(job.config), job.settings, config=job.config)
        path, layers = made.path, made.layers
    else:
        path = find_program(job.model, job.settings)
    if store:
        from slimulator.explore.store import store_of
        store_of(store).keep_program(content(path), path)
    return {"status": COMPILED, "program": str(path), "digest": content(path), "bytes": path.stat().st_size, "layers": layers}


def _ran(job: Job, path: Path) -> Record:
    record = _of_random(job, path) if job.random else _of_model(job, path)
    why = _why_not_scored(job)
    return {"status": DONE, "reason": why and f"bits_per_byte: {why}", **record}


def _why_not_scored(job: Job) -> str:
    if job.random:
        return "random weights predict nothing"
    if job.run.text is None:
        return "no text was given (--text)"
    return "a program for several texts is not scored" if job.settings.sequences else ""


def of_program(job: Job, path: Path, look: Callable[[Any], None] = lambda _machine: None) -> Record:
    """The results of a program of a model, whoever compiled it. `job` says what is run. `look` gets the machine before it runs."""
    return _guarded(lambda: {"status": DONE, "reason": "", **_of_model(job, path, look)})


def _of_model(job: Job, path: Path, look: Callable[[Any], None] = lambda _machine: None) -> Record:
    from compiler.running.generate import Generation, Sampling, open_program
    from emulator.machine import Machine
    from emulator.observe.cost import Cost
    program, words = open_program(path)
    several = job.settings.sequences
    prompts = [job.run.prompt] * several if several else job.run.prompt
    generation = Generation(program, words, prompts, Sampling(job.run.tokens), partial(Machine, time=True), program.machine)
    look(generation.machine)
    report = generation.run(lambda _text: None)
    if report.result.reason == "interrupted":
        raise KeyboardInterrupt
    if report.result.reason != "exit" or report.result.exit_code:
        return {"status": FAILED, "reason": f"the program ended with {report.ended}"}
    scored = _scored(job, program, words) if not _why_not_scored(job) else {}
    return {**_figures(report.counters, Cost.of(generation.machine), program), **scored,
            "texts": [text.text for text in report.texts], "tokens": report.count, "weights": report.weights}


def _of_random(job: Job, path: Path) -> Record:
    from compiler.measuring.on_machine import Stretch, take
    from compiler.measuring.shapes import model_of, shape_model
    from emulator.machine import Machine
    from isa.program import Program
    program = Program.load(path)
    layers = (model_of(job.config) if job.config else shape_model(job.shape or "")).config.layers
    taken = take(program, partial(Machine, time=True), Stretch(program.machine, job.run.depth, job.run.tokens, layers,
                                                               option="depth"))
    return {**_figures(taken.counters, taken.cost, program), "tokens": len(taken.tokens),
            "weights": program.meta["model"]["weights"]}


def _scored(job: Job, program: Any, words: Any) -> Record:
    from compiler.checking.evaluate import evaluate_pairs, of_program, split
    from compiler.running.alive import new_tokens
    from compiler.settings import read_text
    from emulator.machine import Machine
    assert job.run.text is not None
    documents = split(read_text(job.run.text), words, program.meta["model"]["context"], job.run.score,
                      halves=job.run.halves, new=new_tokens(program))
    machine = Machine(program.machine)
    machine.load(program)
    scores, = evaluate_pairs(documents, [of_program(machine, program)], [(0, 0)])
    return {"bits_per_byte": float(scores.bits_per_byte[1]), "scored_tokens": scores.tokens, "scored_bytes": scores.size}


def _figures(counters: dict[str, int], cost: Any, program: Any) -> Record:
    """Counters that are not zero, time, energy, and what the program takes of each memory."""
    said = cost.as_json()
    held = {region.name: sum(section.size for section in program.sections
                             if "a" in section.flags and region.base <= section.address < region.base + region.size)
            for region in program.machine.regions}
    weights = sum(section.size - section.zero_size for section in program.sections
                  if "a" in section.flags and "x" not in section.flags)
    return {"machine": program.machine.name, "weight_bytes": weights,
            "counters": {name: count for name, count in counters.items() if count}, "time": said["time"],
            "energy": said["energy"], "memory": {name: size for name, size in held.items() if size}}
