"""Long stories with facts to remember: who got what, and what was liked by whom. All text is made by rules from a seed.

    story = told(random.Random(1), tokens=2048, encode=encode)      # to train: facts, questions in between and at the end
    prompts = asked(seed=7, count=200, tokens=2040, encode=encode)  # to test: stories that end in one question

A story is lines of `programs/studies/stories.py`, among which fact lines stand at random places. A fact joins a name and a thing
that are drawn for this story alone, so that only the story can tell the answer. A question ends as its fact does:

    Early that day Grandma gave Mira ribbons.       ...     Do you remember? Grandma gave Mira ribbons.
    On the shelf were the sleds Oscar liked.        ...     Do you remember? On the shelf were the sleds Oscar.

Names and things of facts do not occur in the other lines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from programs.studies.stories import PATTERNS, PEOPLE, WORDS

NAMES = ("Ada Bruno Clara Dina Emil Fiona Gus Hana Ivan Jonas Kira Leo Mira Nora Oscar Paula Quinn Rosa Sven Tara Ugo Vera "
         "Wanda Xenia Yara Zeno Alma Boris Celia Dario Edith Felix Greta Hugo Iris Jasper Katya Linus Maren Nils Olga "
         "Pedro Rita Simon Tilda Ursula Victor Wilma Yusuf Zelda Arno Bella Cyril Dora Ernst Flora Gilda Henri Inga Jules "
         "Karl Lotte Marta Noel")
THINGS = ("lanterns mirrors baskets ladders hammers kettles candles blankets feathers marbles whistles ribbons buttons "
         "pencils bottles coins keys maps ropes shovels buckets anchors helmets shields trumpets violins puppets clocks "
         "magnets needles brushes combs scarves gloves boots belts rings crowns medals tickets letters stamps photos vases "
         "pillows curtains carpets lamps brooms sponges spoons forks plates bells horns wagons sleds tents shells nuts "
         "pears plums beans seeds")
KINDS = (("Early that day Grandma gave {name} {thing}.", "Do you remember? Grandma gave {name}", " {thing}"),
         ("On the shelf were the {thing} {name} liked.", "Do you remember? On the shelf were the {thing}", " {name}"))
"""Of each kind of fact its line, its question and the answer, behind which the line ends."""

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts to token ids, without a start token."""


@dataclass(frozen=True)
class Fact:
    """`kind` is a place in KINDS."""

    kind: int
    name: str
    thing: str

    def part(self, index: int) -> str:
        return KINDS[self.kind][index].format(name=self.name, thing=self.thing)

    @property
    def line(self) -> str:
        return self.part(0)

    @property
    def question(self) -> str:
        return self.part(1)

    @property
    def answer(self) -> str:
        return self.part(2)


def facts_of(drawn: random.Random, count: int) -> list[Fact]:
    """Facts of both kinds in turn; no name and no thing is in two of them. At most 64."""
    names, things = drawn.sample(NAMES.split(), count), drawn.sample(THINGS.split(), count)
    return [Fact(number % len(KINDS), *pair) for number, pair in enumerate(zip(names, things, strict=True))]


def filler(drawn: random.Random) -> list[str]:
    """The lines of one short story."""
    (name, she, her), (friend, _, _) = drawn.sample(PEOPLE, 2)
    words = {kind: drawn.choice(several.split()).replace("_", " ") for kind, several in WORDS.items()}
    other = drawn.choice([animal for animal in WORDS["animal"].split() if animal != words["animal"]])
    return drawn.choice(PATTERNS).format(name=name, she=she, She=she.capitalize(), her=her, friend=friend, other=other,
                                         **words).split("\n")


def lines_of(drawn: random.Random, tokens: int, encode: Encode) -> list[list[int]]:
    """Filler lines of at least `tokens` tokens, as ids."""
    found: list[list[int]] = []
    while (missing := tokens - sum(map(len, found))) > 0:
        found += encode([line + "\n" for _ in range(missing // 120 + 1) for line in filler(drawn)])
    return found


def woven(drawn: random.Random, placed: Sequence[tuple[float, list[int]]], tokens: int, encode: Encode) -> list[int]:
    """Lines (place 0..1 in the story, ids) among filler, `tokens` ids in all: the last line of filler is cut to fit."""
    room = tokens - sum(len(ids) for _, ids in placed)
    filled, lines = 0, []
    for ids in lines_of(drawn, room, encode):
        left = room - filled
        if left > 0:
            lines.append((filled / room, ids if len(ids) <= left else [*ids[:left - 1], ids[-1]]))
        filled += len(ids)
    return [token for _, ids in sorted([*placed, *lines], key=lambda entry: entry[0]) for token in ids]


def told(drawn: random.Random, tokens: int, encode: Encode, density: float = 1.0) -> tuple[list[int], list[bool]]:
    """A story to train on: `tokens` ids, and which of them are answers.

    About `density` of 60 tokens go to each fact and its questions; one question of each fact stands at the end, some between.
    """
    facts = facts_of(drawn, max(2, min(40, round(tokens * density / 60))))
    ends = drawn.sample(facts, max(2, round(len(facts) * drawn.uniform(0.3, 1.0))))
    between = [drawn.choice(facts) for _ in range(round(len(facts) * drawn.uniform(0, 0.6)))]
    starts = {fact: drawn.random() * 0.98 for fact in facts}
    lines = encode([fact.line + "\n" for fact in facts])
    asked = [*between, *ends]
    questions, answers = encode([fact.question for fact in asked]), encode([fact.answer for fact in asked])
    stop = encode([".\n"])[0]
    marked: list[tuple[float, list[int]]] = [(starts[fact], ids) for fact, ids in zip(facts, lines, strict=True)]
    room = tokens - sum(map(len, lines))
    for index, fact in enumerate(asked):
        place = drawn.uniform(starts[fact], 0.99) if index < len(between) else 1 + drawn.random()
        ids = [*questions[index], *(-1 - token for token in answers[index]), *stop]
        room -= len(ids)
        if room >= 0:
            marked.append((place, ids))
    ids = woven(drawn, marked, tokens, encode)
    return [token if token >= 0 else -1 - token for token in ids], [token < 0 for token in ids]


DEPTHS = 4
"""A fact of the test stands in the first, second, third or last quarter of its story."""


@dataclass(frozen=True)
class Asked:
    """A prompt (token ids, without a start token) whose next tokens should be `answer`; the fact is in quarter `depth`, 0 to 3."""

    prompt: list[int]
    answer: list[int]
    depth: int


def asked(seed: int, count: int, tokens: int, encode: Encode) -> list[Asked]:
    """`count` prompts of `tokens` ids, each a story that ends in one question; depths and kinds of facts take turns.

    A story has a fact for about 80 tokens: those not asked for are there to be confused with. Stories to train on are drawn from
    other seeds, which are texts.
    """
    drawn, found = random.Random(seed), list[Asked]()
    for index in range(count):
        facts = facts_of(drawn, max(DEPTHS, min(40, tokens // 80)))
        wanted, depth = facts[index // DEPTHS % len(KINDS)], index % DEPTHS
        question, answer = encode([wanted.question, wanted.answer])
        places = [(depth + drawn.random()) / DEPTHS if fact is wanted else drawn.random() for fact in facts]
        lines = zip(places, encode([fact.line + "\n" for fact in facts]), strict=True)
        found.append(Asked([*woven(drawn, list(lines), tokens - len(question), encode), *question], answer, depth))
    return found
