"""The text of the study of budgets: a long story with facts, which is asked for them at its end. The last answer is missing.

    python -m programs.studies.remember > programs/studies/remember.txt

It is made as the stories that the model that remembers was trained on (programs/demo/facts.py), from a seed that training never
had. As a prompt it is continued by the last answer.
"""

from __future__ import annotations

import random

from compiler.frontends import load, need_tokenizer
from programs.demo.facts import told
from programs.demo.recall import MODEL, encoder

SEED, TOKENS = 13, 2040


def text() -> str:
    tokenizer = need_tokenizer(load(MODEL))
    ids, answers = told(random.Random(SEED), TOKENS, encoder(tokenizer))
    last = max(place for place, answer in enumerate(answers) if answer)
    return tokenizer.decode(ids[:last])


if __name__ == "__main__":
    print(text(), end="")
