"""README and guides: every block is executed and prints what the page shows, or says why not; every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from children import ROOT
from guides import DATA, Block, Folder, blocks, missing

from asm.diagnostics import AssemblyError

GENERATED = sorted((ROOT / "docs" / "isa").glob("*.md"))            # held by tests/isa/test_manual.py
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
          *sorted((ROOT / "programs").glob("**/README.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in GUIDES]
BLOCKS = {name: blocks(path) for name, path in zip(NAMES, GUIDES, strict=True)}


def _needs_data(block: Block) -> bool:
    return "needs" in block.marks


@pytest.mark.parametrize("name", [name for name in NAMES if not all(map(_needs_data, BLOCKS[name]))])
def test_blocks_show_what_happens(name: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for block in BLOCKS[name]:
        if not block.marks.keys() & {"needs", "not run"}:
            folder.execute(block)


@pytest.mark.parametrize("block", [block for name in NAMES for block in BLOCKS[name] if _needs_data(block)],
                         ids=lambda block: block.place)
def test_blocks_that_need_data(block: Block, tmp_path: Path) -> None:
    absent = [name for name in block.marks["needs"].split() if not (DATA / name).exists()]
    if absent:
        pytest.skip(f"no {absent[0]} beside the repository")
    Folder(tmp_path).execute(block)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_executed_or_says_why_not(name: str) -> None:
    assert [f"{block.place}: {missing(block)}" for block in BLOCKS[name] if missing(block)] == []
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(BLOCKS[name]), "a fence is not closed"


@pytest.mark.parametrize(("language", "text", "marks"), [
    ("console", "$ echo 5\n6\n", {}), ("console", "$ echo 5\n$ echo 6\n6\n", {}), ("console", "$ false\n", {}),
    ("console", "echo\n", {}),
    ("console", "$ printf '1\\n2\\n'\n1\n...\n3\n", {}), ("console", "$ echo 5 6\n4 ...\n", {}), ("sh", "false\n", {}),
    ("python", "print(5)  # 6\n", {}), ("python", "print(5)  # 5\nprint(6)\n", {}), ("asm", "addq t0\n", {}),
    ("asm", "_start: li a0, 7\n", {"from": "programs/hello.s"}), ("", "6\n", {"part of": "echo 5"}),
    ("console", "$ echo 5 words\n6 word\n", {"numbers vary": "they are drawn"})])
def test_a_wrong_block_is_found(language: str, text: str, marks: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises((AssertionError, AssemblyError)):
        Folder(tmp_path).execute(Block("page.md", 1, language, text, marks))


def test_what_a_block_may_leave_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for language, text, marks in (("console", "$ printf '1\\n2\\n3\\n'\n...\n3\n", {}), ("console", "$ echo 5 6\n5 ...\n", {}),
                                  ("console", "$ echo compiling it ...\n", {}), ("console", "$ cat \\\n  a\n1\n", {}),
                                  ("console", "$ printf '  this host 3.5 s\\n'\n  this host 1,204.7 s\n", {}),
                                  ("", "5\n", {"part of": "printf '4\\n5\\n6\\n'"}),
                                  ("console", "$ echo 5\n6\n", {"numbers vary": "they are drawn"}),
                                  ("console", "$ false\n...\n", {})):
        (folder.path / "a").write_text("1\n")
        folder.execute(Block("page.md", 1, language, text, marks))


def test_a_block_without_language_or_reason_is_found() -> None:
    for language, marks in (("", {}), ("text", {}), ("toml", {}), ("console", {"not run": "no"}), ("asm", {"not run": "too long"})):
        assert missing(Block("page.md", 1, language, "", marks)), (language, marks)


def test_indented_code_is_not_forgotten() -> None:
    """Code stands between fences: four spaces behind a blank line make a block that no test sees."""
    found = [f"{name}: {line}" for name in NAMES
             for line in re.findall(r"\n\n {4}(?! *(?:[-*]|\d+\.|```|<!--) ?)(.*)", re.sub(r"^ *```.*?^ *```$", "", (
                 ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S))]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_items_of_a_list_begin_their_lines(name: str) -> None:
    """What fills paragraphs can make one of a list."""
    assert re.findall(r".*[.:] - .*", _prose(ROOT / name)) == []


# ------------------------------------------------------------------------------------------------ links


def _prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "code", text)


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#+ +(.*?)\s*$", text, re.M):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {anchor if not number else f"{anchor}-{number}" for anchor, last in found.items() for number in range(last + 1)}


def _links(path: Path) -> list[str]:
    text = _prose(path)
    return [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"^\[[^]]+\]:\s*(\S+)", text, re.M),
            *re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)]


def _target(path: Path, link: str) -> Path:
    return (path.parent / link.partition("#")[0]).resolve() if not link.startswith("#") else path


def _bad_links(path: Path) -> list[str]:
    bad = []
    for link in _links(path):
        if re.match(r"https?://", link):
            continue
        target = _target(path, link)
        anchor = link.partition("#")[2]
        if not target.exists() or ROOT not in target.parents or (anchor and anchor not in _anchors(target)):
            bad.append(link)
    return bad


@pytest.mark.parametrize("path", [*GUIDES, *GENERATED], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_anchors(path: Path) -> None:
    assert _bad_links(path) == []


def test_a_bad_link_is_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "index.md"
    assert _bad_links(page) == [] and _links(page)
    assert {"a-line", "pseudo-instructions"} <= _anchors(ROOT / "docs" / "assembly.md")
    assert "hooks" in _anchors(ROOT / "docs" / "python.md") and "no-such" not in _anchors(ROOT / "docs" / "python.md")


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [_target(page, link) for link in _links(page) if not re.match(r"https?://", link)]
        ahead += [target for target in targets if target.suffix == ".md"]
    assert {*GUIDES, *GENERATED} - reached == set()
