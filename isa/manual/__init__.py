"""The manual: every page of docs/isa and every answer of `slimulator isa`, from the tables that the machine itself uses.

    answers.py    what is found for a query
    entry.py      the entry of an instruction
    notation.py   names in the short meanings
    vocabulary.py what `m` is, and the functions and constants that meanings reach
    topics.py     everything that is no instruction; the larger chapters are in files of their own:
    encoding.py, trap_order.py, addresses.py, privileged.py, ordering.py, reset.py, abilities.py
    search.py     full-text search
    pages.py      the pages; `python -m isa.manual DIRECTORY` writes them
    document.py   headings, tables and paragraphs, as Markdown and as plain text
"""

from isa.manual.answers import UnknownEntry, look_up
from isa.manual.pages import pages, write
from isa.manual.topics import TOPICS, Answer, machine_answer, side_by_side

__all__ = ["TOPICS", "Answer", "UnknownEntry", "look_up", "machine_answer", "pages", "side_by_side", "write"]
