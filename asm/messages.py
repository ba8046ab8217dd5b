"""The messages of one run: errors and warnings, each at its place, in the order in which the source is read."""

from __future__ import annotations

from asm.budget import Exhausted
from asm.diagnostics import Diagnostic, Note, SourceError, Span, UnknownName, plural
from asm.expressions import Node, span
from asm.source import Site

MOST_MESSAGES = 1000    # errors and warnings that are told; the others are counted


class Messages:
    """Collects what is wrong with a source, whose file has this name."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.incomplete = False         # an error has left lines out: an unknown name may be defined in them
        self.exhausted = False          # the budget is spent: the source is read no further
        self._told: list[Diagnostic] = []
        self._untold = {"error": 0, "warning": 0}
        self._order: dict[int, tuple[int, ...]] = {}        # id of a diagnostic -> its place in reading order

    @property
    def is_empty(self) -> bool:
        return not self._told

    @property
    def has_errors(self) -> bool:
        return any(diagnostic.severity == "error" for diagnostic in self._told)

    def report(self, site: Site, error: SourceError) -> None:
        """Note an error, unless it only follows from another one. Its columns count from the operands."""
        if isinstance(error, UnknownName) and (error.follows or self.incomplete):
            return
        self.exhausted |= isinstance(error, Exhausted)
        if error.start is not None:
            column = site.statement.operands_column
            error.start, error.end = error.start + column, (error.end or error.start + 1) + column
        self._note(site, error)

    def report_late(self, site: Site, error: SourceError, node: Node) -> None:
        """Note an error in an expression that was worked out after layout."""
        start, end = span(node)
        if start is not None and not (error.start is not None and start <= error.start < (end or start)):
            error.start, error.end = start, end         # the error may come from another line, through a .set
        self.report(site, error)

    def report_layout(self, site: Site | None, error: SourceError) -> None:
        """Note an error of the layout, which may have no place in the source."""
        if site is None:
            self.report_file(error.message, error.hint_text, error.notes)
        else:
            self.report(site, error)

    def report_file(self, message: str, hint: str = "", notes: tuple[Note, ...] = ()) -> None:
        """Note an error of the file as a whole."""
        self._told.append(Diagnostic(message, Span(self.file, 1), hint, notes))

    def warn(self, site: Site, message: str) -> None:
        self._note(site, SourceError(message), "warning")

    def _note(self, site: Site, error: SourceError, severity: str = "error") -> None:
        if len(self._told) >= MOST_MESSAGES and not isinstance(error, Exhausted):
            self._untold[severity] += 1
            return
        diagnostic = Diagnostic(error.message, site.span(error.start, error.end), error.hint_text, (*error.notes, *site.notes()),
                                severity)
        self._order[id(diagnostic)] = site.path()
        self._told.append(diagnostic)

    def in_order(self) -> list[Diagnostic]:
        """All messages in reading order, and how many more there are."""
        more = [Diagnostic(f"and {plural(count, f'more {severity}')}: the first {MOST_MESSAGES} are told", Span(self.file, 1),
                           severity=severity) for severity, count in self._untold.items() if count]
        return sorted(self._told, key=lambda diagnostic: self._order.get(id(diagnostic), ())) + more
