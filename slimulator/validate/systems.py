"""Published systems: the time of a token, from one layer of a model of their shape, executed on their machine, times its layers."""

from __future__ import annotations

from collections.abc import Iterator

from slimulator.validate import slim, slim_llama, sliminfer, starc
from slimulator.validate.checks import Check
from slimulator.validate.layers import ATTENTION, FEED_FORWARD, PROJECTION, QKV, Token, opt, token
from slimulator.validate.points import MACHINES

MS = 1e3

# ------------------------------------------------------------------------------------------------ HPIM

_NOTE = "HPIM, arXiv 2509.12993 (from a third-party reading note)"
_PROMPT, _GENERATED = 256, 768
_POSITION = _PROMPT + _GENERATED // 2 - 1       # the token in the middle
_MORE = 1024                                    # tokens, if "1K output" does not count the prompt
_OPT_13B = 40                                   # layers
_TIMES = {PROJECTION: (1832, 395, 4.64), FEED_FORWARD: (7902, 2646, 2.99), ATTENTION: (4862, 1285, 3.81), QKV: (4538, 1213, 3.74)}
"""ms of all tokens that are generated, OPT-13B, on the A100 and on HPIM, and the ratio that the note prints. For the last it prints
121 ms, which this ratio corrects."""
_SAME_BANK = "one bank of a bank group at a time: concluded from these times, of which all at once would take about half"
_TIMED = "AttAcc's timings of HBM3; matrices of 5,120 rows are cut in tiles of columns, which fill all banks (the note: rows only)"
_KNOWN = {PROJECTION: _TIMED, FEED_FORWARD: _TIMED, QKV: _TIMED,
          ATTENTION: "widths and clock of the SRAM side. Less: keys and values, though in fp32, come at the full bandwidth of four "
                     "stacks, and 40 heads on 32 cores take no second phase"}


def opt_13b(machine: str) -> Token:
    """One layer of OPT-13B in fp16, for the token in the middle of those that were generated."""
    return token(opt(5120, 20480, 40, _PROMPT + _GENERATED), machine, position=_POSITION)


def hpim() -> Iterator[Check]:
    """Parts of a token of OPT-13B on HPIM, and on the roofline of the GPU that it was compared with."""
    executed = f"1 of {_OPT_13B} layers in fp16, token {_POSITION + 1} of {_PROMPT + _GENERATED}, times {_OPT_13B}"
    ours, gpu = opt_13b("hpim"), opt_13b(str(MACHINES / "a100.toml"))
    ms = {part: MS * _OPT_13B * ours.parts[part] for part in _TIMES}
    bounds = {part: MS * _OPT_13B * gpu.parts[part] for part in _TIMES}
    for part in _TIMES:
        whole = _TIMES[part][1]
        yield Check("HPIM", f"OPT-13B, {part}", "ms a token", whole / _MORE, whole / _GENERATED, ms[part], executed, _KNOWN[part],
                    _fitted(part), f"{_NOTE}: {whole:,} ms for {_GENERATED} or {_MORE} tokens"
                                   + ("; it prints 121, which its ratio corrects" if part == QKV else ""))
    for part in _TIMES:
        theirs, whole, times = _TIMES[part]
        yield Check("HPIM", f"OPT-13B, {part}: A100 / HPIM", "times", times, times, theirs / _GENERATED / ms[part],
                    f"as above; the A100's time is the paper's, of {_GENERATED} tokens", "the same", _fitted(part),
                    f"{_NOTE}: {theirs:,} / {whole:,} ms")
    gpu_ms, hpim_ms = sum(times[0] for times in _TIMES.values()), sum(times[1] for times in _TIMES.values())
    yield Check("HPIM", "OPT-13B, all four parts: A100 / HPIM", "times", gpu_ms / hpim_ms, gpu_ms / hpim_ms,
                gpu_ms / _GENERATED / sum(ms.values()), f"as above; the A100's time is the paper's, of {_GENERATED} tokens",
                "attention is too fast", _SAME_BANK, f"{_NOTE}: {gpu_ms:,} / {hpim_ms:,} ms")
    for part in _TIMES:
        theirs = _TIMES[part][0]
        yield Check("A100", f"OPT-13B, {part}", "ms a token", theirs / _MORE, theirs / _GENERATED, bounds[part],
                    "the same layer on slimulator/validate/machines/a100.toml", "a roofline: a bound that no GPU reaches", "",
                    f"{_NOTE}: {theirs:,} ms for {_GENERATED} or {_MORE} tokens")
    for what, times, lacks in (("on average", 6.2, "prompts need its systolic arrays, which are not modelled"),
                               ("at most", 22.8, "its model and lengths are not in the note, and prompts need systolic arrays")):
        yield Check("HPIM", f"whole requests, {what}: A100 / HPIM", "times", times, times, None, f"nothing: {lacks}", "", "", _NOTE)


def _fitted(part: str) -> str:
    return "" if part == ATTENTION else _SAME_BANK


def checks() -> Iterator[Check]:
    """All rows, in order."""
    yield from slim_llama.checks()
    yield from hpim()
    yield from slim.checks()
    yield from sliminfer.checks()
    yield from starc.checks()
