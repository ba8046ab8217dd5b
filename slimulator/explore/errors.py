"""What is wrong with a study, before anything of it runs."""

from __future__ import annotations

from pathlib import Path

from isa.text import printable


class StudyError(Exception):
    """A study that cannot be planned: `key` of `file` (or of the command line), what is there, what may be."""

    def __init__(self, key: str, got: str, expected: str = "", hint: str = "", file: Path | str = "") -> None:
        self.file, self.key, self.got, self.expected, self.hint = str(file), key, got, expected, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        said = f"{self.file}: error: " if self.file else ""
        said += f"{self.key}: " * bool(self.key) + self.got + (f"; expected {self.expected}" if self.expected else "")
        return printable(said) + (f"\nhint: {printable(self.hint)}" if self.hint else "")
