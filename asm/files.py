"""The files that a source may open: where they are looked for, and which of them are allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from asm.diagnostics import SourceError
from asm.source import Site
from isa.program import FileSlice
from isa.shipped import PROGRAMS


class SourceFiles:
    """Finds files by name. `only` are the real paths of folders: no file outside them may be opened; None: any may.

    `given` is taken instead of files of these names: a slice by .incbin, bytes by .meta.
    """

    def __init__(self, include_paths: tuple[Path, ...], only: tuple[str, ...] | None,
                 given: Mapping[str, FileSlice | bytes]) -> None:
        self.include_paths, self.only, self.given = include_paths, only, given
        self.real: Callable[[str], str] = cache(os.path.realpath)       # a file's one name: without links and dots

    def check_allowed(self, path: Path) -> None:
        """Raise SourceError for a file outside the folders of --include-only; links are followed first."""
        if self.only is None:
            return
        real = os.path.realpath(path)
        if not any(os.path.commonpath((folder, real)) == folder for folder in self.only):
            raise SourceError(f"{path} is outside the folders that a source may open files in",
                              hint="--include-only " + ", ".join(self.only))

    def find(self, name: str, site: Site) -> Path:
        """The file that `name` means: beside the including file, in the include paths, in PROGRAMS. Raises SourceError."""
        folders = Path(site.callers().buffer.file).parent, *self.include_paths
        for folder in (*folders, PROGRAMS):
            path = folder / name
            try:
                found = path.is_file()
            except OSError as error:                # a name that no file can have
                raise SourceError(f"cannot read {name}: {error.strerror}") from None
            if found and folder is not PROGRAMS:
                self.check_allowed(path)
                return path
            if found and path.resolve().is_relative_to(PROGRAMS):       # ours: not what ".." leads to
                return path
        if any((folder / name).exists() for folder in folders):
            raise SourceError(f"cannot read {name}: a directory or a device; expected a file")
        searched = ", ".join(dict.fromkeys(map(str, folders)))
        raise SourceError(f"file not found: {name}", hint=f"searched in {searched}; -I DIR adds a directory")
