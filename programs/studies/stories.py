"""About 30 KB of plain stories, made by rules from a seed: the text that the studies score.

    python programs/studies/stories.py > programs/studies/stories.txt
    python programs/studies/stories.py 12 8000 > programs/studies/calibration.txt       # another seed, for --calibrate

They are short stories in simple words, of the kind that the demo model was trained on; none of them was in its training. Each is a
pattern of this file, in which names and things are drawn. Nothing here comes from another text.
"""

from __future__ import annotations

import random
import sys

SEED, BYTES = 11, 30_000
SEPARATOR = "<|endoftext|>"

PEOPLE = [("Lily", "she", "her"), ("Tom", "he", "his"), ("Mia", "she", "her"), ("Ben", "he", "his"), ("Sara", "she", "her"),
          ("Max", "he", "his"), ("Anna", "she", "her"), ("Tim", "he", "his")]
WORDS = {
    "animal": "dog cat bird rabbit frog duck mouse bear", "look": "red blue big small shiny old soft green",
    "thing": "ball kite hat box book boat car doll drum cup", "place": "park garden forest beach kitchen river farm yard",
    "sky": "sunny windy rainy cold warm", "food": "cake apple cookie pie sandwich", "built": "house tower boat bridge",
    "skill": "swim ride_a_bike climb_the_tree tie_a_knot sing_a_song draw_a_horse"}

# A line is a line of the story; lines that end in a backslash go on.
PATTERNS = ("""\
One day, {name} could not find {her} {look} {thing}. {She} looked under the bed. {She} looked behind the door. The {thing} was \
not there. {name} was sad.
{She} went to the {place} and saw a {animal}. "Did you see my {thing}?" asked {name}. The {animal} ran to a tree. Behind the tree \
was the {look} {thing}!
"Thank you!" said {name}. {She} gave the {animal} a hug. From that day on, they played with the {thing} together.""", """\
{name} had a big {food}. {She} sat in the {place} and wanted to eat all of it. Then {friend} came. {friend} was hungry.
"Can I have some?" asked {friend}. {name} did not want to share. But then {she} saw that {friend} was sad. "Yes," said {name}, and \
gave {friend} half of the {food}.
They ate and laughed. The {food} was good, and it was more fun to eat it with a friend. {name}'s mom was proud of {her} kind \
heart.""", """\
It was a {sky} day. {name} wanted to go to the {place} with {her} {look} {thing}.
"Take your coat," said {her} dad. {name} took the coat and ran outside. {She} played with the {thing} for a long time. Then {she} \
was tired.
When {name} came home, dad had made warm milk. "Did you have fun?" he asked. "Yes!" said {name}. "The {place} is the best place on \
a {sky} day.\"""", """\
Once there was a little {animal} who lived near the {place}. The {animal} was very small, and it could not reach the food on the \
high shelf. It tried to jump. It fell down.
A big {other} saw this and laughed. But a child named {name} did not laugh. {She} picked up the little {animal} and helped it to \
reach the food.
"Thank you," said the {animal}. The {other} felt bad and said sorry. After that, all three of them were friends, and they always \
helped each other.""", """\
{name} and {friend} were in the {place}. They wanted to build a {look} {built}. {name} found some wood. {friend} found some \
stones. They worked all day.
When the {built} was almost done, a strong wind came. The {built} fell down! {friend} started to cry. "Do not cry," said {name}. \
"We can build it again, and this time it will be stronger."
So they built it again. {name} asked {her} mom to help. The new {built} did not fall. They were very happy.""", """\
{name} wanted to learn how to {skill}. {She} tried, but it was hard. "I can not do it," said {name}. Grandma smiled. "Try it one \
more time," she said.
{name} tried again and again. On the first day it did not work. On the second day it was a little better. On the third day {name} \
did it! {She} could {skill}.
"You see," said Grandma, "you only need to try." {name} gave {her} grandma a big hug.""")


def made(seed: int = SEED, size: int = BYTES) -> str:
    """The stories of a seed, at least `size` bytes of them, separated as those of TinyStories are."""
    drawn, found = random.Random(seed), list[str]()
    while sum(map(len, found)) < size:
        (name, she, her), (friend, _, _) = drawn.sample(PEOPLE, 2)
        words = {kind: drawn.choice(several.split()).replace("_", " ") for kind, several in WORDS.items()}
        other = drawn.choice([animal for animal in WORDS["animal"].split() if animal != words["animal"]])
        found.append(drawn.choice(PATTERNS).format(name=name, she=she, She=she.capitalize(), her=her, friend=friend, other=other,
                                                   **words))
    return f"\n{SEPARATOR}\n".join(found) + "\n"


if __name__ == "__main__":
    sys.stdout.write(made(*map(int, sys.argv[1:])))
