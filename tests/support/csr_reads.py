"""Which CSRs a meaning reads, seen while it is executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from isa.engine.vocabulary import Vocabulary


@contextmanager
def csrs_that_are_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names of the CSRs that the reference engine's meanings read in here."""
    read: set[str] = set()
    original = Vocabulary.csr

    def csr(self: Vocabulary, name: str) -> int:
        read.add(name)
        return original(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "csr", csr)
        yield read
