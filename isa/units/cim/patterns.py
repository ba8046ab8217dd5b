"""Which N of M the cells of a machine can hold: the text of the parameter cim.patterns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from isa.sparse.nm import LARGEST

if TYPE_CHECKING:
    from isa.preset import Preset

ANY, NONE = "any", "none"


def patterns(text: str) -> frozenset[tuple[int, int]]:
    """All (N, M) with N < M of a text: "2:4 4:8", "any", "none". Raises ValueError."""
    if text in (ANY, NONE):
        return frozenset((n, m) for m in range(1, LARGEST + 1) for n in range(1, m) if text == ANY)
    found = set()
    for word in text.split():
        match = re.fullmatch(r"(\d+):(\d+)", word)
        if match is None or not 1 <= int(match[1]) < int(match[2]) <= LARGEST:
            raise ValueError(word)
        found.add((int(match[1]), int(match[2])))
    if not found:
        raise ValueError(text)
    return frozenset(found)


def holds(preset: Preset, n: int, m: int) -> bool:
    """Whether the cells of a machine can hold N of M. Each can hold N = M: a place is then no choice."""
    return 1 <= n <= m <= LARGEST and (n == m or (n, m) in patterns(str(preset.settings["cim.patterns"])))
