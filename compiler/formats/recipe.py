"""Which format each matrix of a model gets: `t2`, `i8:32`, or a TOML file that names roles by pattern.

    weights = "t2"                  # every linear of the layers, unless named below
    head = "i8"                     # of the vocabulary: head and embedding

    sparse = "auto"                 # how matrices with zeros are stored; "off": dense

    [roles]                         # patterns as in a shell; the last one that fits counts
    "layers.*.down" = "i4:32"
    "layers.0.*"    = "f16"

    [layouts]                       # the same for sparse layouts
    "layers.*.up"   = "nm:2:4"

A format is a name, and for integers how many columns share a scale: `:tensor` one for all, `:row` one a row, or a number. Without
that, codes of a checkpoint keep the scales that they have, and floats get what is usual for the format. `t2:absmean` and
`t5:absmean` are one scale for all by BitNet's rule, for models that were trained with it. `i4:clip` is one scale for all too, of
least squared error: large values are clipped. c2, c3 and c4 are indices into a codebook of int8 values that each matrix has of its
own; `c4:fit` and `c4:fit:64` have scales of least squares for it. `c4:nf4` is the codebook NF4 for all matrices, with a scale for
64 columns or, as `c4:nf4:32`, for another number.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from compiler.errors import ModelError, one_of
from compiler.formats import codebook
from compiler.formats.layouts import AUTO, check_layout
from compiler.formats.scales import LARGEST
from compiler.formats.weight_format import WEIGHT_FORMATS, WeightFormat
from compiler.model.model import SIDES
from isa.files import text_of
from isa.hints import nearest

ABSMEAN, CLIP, NF4, FIT, PAIRS = "absmean", "clip", "nf4", "fit", ":pairs"


@dataclass(frozen=True)
class Choice:
    """What a recipe asks for: a format and, for codes, the columns that share a scale.

    group  "tensor", "row" or a number of columns; "absmean", "clip": the tensor, by that rule; "": nothing was said
    table  "nf4": the codebook is that one; "fit": each matrix has its own, and scales of least squares for it; "": each matrix has
           its own, if the format has any
    pairs  codes are looked up two at a time
    """

    format: WeightFormat
    group: str | int = ""
    table: str = ""
    pairs: bool = False

    def columns(self, cols: int) -> int:
        """How many of `cols` columns share a scale when a matrix is quantised; 0: the whole matrix does."""
        group = self.group or self.format.group
        return group if isinstance(group, int) else cols if group == "row" else 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.format, self.table, self.group) if part) + PAIRS * self.pairs


BYTES = Choice(WEIGHT_FORMATS["i8"], "row")


def parse_format(text: str, place: str = "--weights", file: Path | str = "") -> Choice:
    """`t2`, `i8:32`, `t2:row`, `c4:pairs`. Raises ModelError."""
    if text.endswith(PAIRS):
        choice = parse_format(text.removesuffix(PAIRS), place, file)
        if not choice.format.book or choice.pairs:
            raise ModelError(file, place, got=repr(text), expected="c2, c3 or c4, such as c4:nf4:64:pairs",
                             hint="pairs of codes are looked up in a codebook")
        return replace(choice, pairs=True)
    name, _, group = text.partition(":")
    if name not in WEIGHT_FORMATS:
        raise ModelError(file, place, got=f"no weight format {name!r}", expected=one_of(WEIGHT_FORMATS),
                         hint=nearest(name, WEIGHT_FORMATS))
    form = WEIGHT_FORMATS[name]
    if not form.has_codes:
        if group:
            raise ModelError(file, place, got=f"{text!r}", expected=name, hint="floats have no scale")
        return Choice(form)
    table, _, columns = group.partition(":")
    if table in (NF4, FIT):
        fits = re.fullmatch(r"(row|[1-9]\d{0,8})?", columns) and not group.endswith(":")
        if table == NF4 and (name != "c4" or not fits):
            raise ModelError(file, place, got=repr(text), hint="NF4 has 16 values: four bits",
                             expected="c4:nf4, or c4:nf4:N with N columns that share a scale, or c4:nf4:row")
        if table == FIT and (not form.book or not fits):
            raise ModelError(file, place, got=repr(text), hint="scales are fitted to a codebook",
                             expected="c2:fit, c3:fit or c4:fit, or c4:fit:N with N columns that share a scale")
        columns = columns or ("row" if table == FIT else str(codebook.NF4_COLUMNS))
        return Choice(form, int(columns) if columns.isdigit() else columns, table)
    if group == ABSMEAN and name not in ("t2", "t5"):
        raise ModelError(file, place, got=repr(text), expected="t2:absmean or t5:absmean", hint="the rule is for ternary codes")
    if group == CLIP and (form.rule is not LARGEST or form.book):
        raise ModelError(file, place, got=repr(text), expected="i3:clip, i4:clip or i8:clip",
                         hint="the rule is for integers of three bits and more")
    if group not in ("", "tensor", "row", ABSMEAN, CLIP) and not re.fullmatch(r"[1-9]\d{0,8}", group):
        raise ModelError(file, place, got=f"{text!r}: scale group {group!r}", expected="tensor, row or a number of columns")
    return Choice(form, int(group) if group.isdigit() else group)


@dataclass(frozen=True)
class Recipe:
    """Formats by role. None: as the checkpoint has it (ternary codes stay, floats become f32). `file`: where it was read.

    sparse, layouts   names of sparse layouts (formats/layouts.py): of all matrices of layers, and by pattern of roles
    reuse             columns of a piece, where binary and ternary matrices of layers are stored as centres and differences; 0: none
    pack              weights of a chunk, of which the best is taken, where matrices of layers are packed; (): none are
    progress          is told how many weights of these are done, and all
    """

    weights: Choice | None = None
    head: Choice | None = None
    roles: dict[str, Choice] = field(default_factory=dict)
    sparse: str = AUTO
    layouts: dict[str, str] = field(default_factory=dict)
    file: Path | str = ""
    reuse: int = 0
    pack: tuple[int, ...] = ()
    progress: Callable[[int, int], None] | None = field(default=None, compare=False)

    @property
    def pairs(self) -> bool:
        """Whether codes of codebooks are looked up two at a time."""
        return any(choice.pairs for choice in (self.weights, self.head, *self.roles.values()) if choice)

    def format_of(self, role: str) -> Choice | None:
        """The format of the matrix of a role: "layers.3.q", "embedding", "head". Thin matrices beside integer ones get int8."""
        found = self.weights if role.startswith("layers.") else self.head
        if found and found.format.has_codes and role.endswith(SIDES):
            found = BYTES
        for pattern, form in self.roles.items():
            if fnmatchcase(role, pattern):
                found = form
        return found

    def layout_of(self, role: str) -> str:
        """The sparse layout that the matrix of a role is to get: its name, AUTO or OFF."""
        return next((layout for pattern, layout in reversed(self.layouts.items()) if fnmatchcase(role, pattern)), self.sparse)

    def check(self, matrices: Sequence[str]) -> None:
        """Raise ModelError for a pattern that fits none of a model's matrices, which are given by role."""
        for table, pattern in (*(("roles", each) for each in self.roles), *(("layouts", each) for each in self.layouts)):
            if not any(fnmatchcase(role, pattern) for role in matrices):
                kinds = dict.fromkeys(re.sub(r"^layers\.\d+", "layers.*", role) for role in matrices)
                raise ModelError(self.file, f"{table}.{pattern}", got="matches no matrix of this model",
                                 expected="a pattern of " + one_of(kinds), hint=nearest(pattern, kinds))


def read_recipe(text: str) -> Recipe:
    """A format, or the path of a TOML file (its name ends in .toml). Raises ModelError, OSError."""
    if not text.endswith(".toml"):
        form = parse_format(text)
        # A vocabulary in one or two bits says nothing any more: it gets 8 where the layers have fewer.
        return Recipe(form, Choice(WEIGHT_FORMATS["i8"], "row" if form.group == "row" else "") if form.format.has_codes else form)
    path = Path(text)
    try:
        table = tomllib.loads(text_of(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(path, "", got=str(error), expected="a TOML file in UTF-8") from None
    known = ("weights", "head", "roles", "sparse", "layouts")
    for key in table:
        if key not in known:
            raise ModelError(path, "", got=f"unknown key {key!r}", expected=one_of(known), hint=nearest(key, known))

    roles, layouts = table.get("roles", {}), table.get("layouts", {})
    for place, patterns in (("roles", roles), ("layouts", layouts)):
        if not isinstance(patterns, dict):
            raise ModelError(path, place, got=repr(patterns), expected="a table of patterns and formats")
    weights, head = (_format(path, key, table[key]) if key in table else None for key in ("weights", "head"))
    return Recipe(weights, head, {pattern: _format(path, f"roles.{pattern}", value) for pattern, value in roles.items()},
                  check_layout(table.get("sparse", AUTO), "sparse", path),
                  {pattern: check_layout(value, f"layouts.{pattern}", path) for pattern, value in layouts.items()}, path)


def _format(path: Path, place: str, value: Any) -> Choice:
    if not isinstance(value, str):
        raise ModelError(path, place, got=repr(value), expected='a format as text, e.g. "t2"')
    return parse_format(value, place, path)
