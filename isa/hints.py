"""Guesses what an unknown name was meant to be: the hint in every message about one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], quote: str = "'", cutoff: float = 0.6) -> str:
    """"did you mean 'this'?" with the known name that is nearest to `name`, or "" where none is near.

    quote: the quotation mark; messages about source text use `. cutoff: the least similarity, 0 to 1.
    """
    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {quote}{close[0]}{quote}?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """"no counter 'lut.lookup'; did you mean 'lut.lookups'?": the text of a KeyError."""
    return "; ".join(filter(None, (f"no {kind} {name!r}", nearest(name, known))))
