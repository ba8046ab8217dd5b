"""Accuracy on a text: how many bits the next byte costs, for the float graph and for the quantised program on a machine.

    documents = split(text, tokenizer, context, limit)
    evaluate(documents, reference, candidate) -> Scores     for each position the logits of both; evaluate_pairs: of several

Each document begins with the tokenizer's BOS, if it has one, and is scored in pieces as long as the context. The first token of a
piece is its prompt; or the first half is, for a program that leaves out tokens of prompts. What is behind is scored. The cost of a
token is -log2 of its probability. Bits per byte are the sum of costs, divided by the UTF-8 bytes of the text that was scored: so
models with different tokenizers can be compared.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.graph import Executor
from compiler.model.tensors import F32
from compiler.model.tokenizer import Tokenizer
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

SEPARATOR = "<|endoftext|>"             # between the stories of TinyStories and of many other collections
Logits = Callable[..., Iterator[F32]]
"""From the tokens of a document to the logits (vocab,) behind each of them; or, if it is also told how many of them are its prompt,
to those from the prompt's last token on."""


@dataclass
class Document:
    """Tokens, and the number of bytes of text that they stand for, those of its prompt left out, which is not scored."""

    tokens: list[int]
    size: int
    prompt: int = 1


@dataclass
class Scores:
    """Sums over the tokens that were scored. In each pair the second number is the candidate's."""

    tokens: int = 0
    size: int = 0                       # bytes of text
    bits: tuple[float, float] = (0.0, 0.0)
    agreed: int = 0                     # times that both had the same most likely token
    divergence: float = 0.0             # sum of KL(reference || candidate), nats

    @property
    def bits_per_byte(self) -> tuple[float, float]:
        return self.bits[0] / self.size, self.bits[1] / self.size

    @property
    def perplexity(self) -> tuple[float, float]:
        """The perplexity of a token."""
        return 2 ** (self.bits[0] / self.tokens), 2 ** (self.bits[1] / self.tokens)

    @property
    def agreement(self) -> float:
        return self.agreed / self.tokens

    @property
    def kl(self) -> float:
        """Kullback-Leibler divergence of the candidate's distribution from the reference's, nats a token."""
        return self.divergence / self.tokens

    def beside(self) -> dict[str, float]:
        """How the candidate's choices differ from the reference's."""
        return {"top_1_agreement": self.agreement, "kl_divergence": self.kl}

    def as_json(self) -> dict[str, Any]:
        def pair(values: tuple[float, float]) -> dict[str, float]:
            return {"float": values[0], "program": values[1]}
        return {"tokens": self.tokens, "bytes": self.size, "bits_per_byte": pair(self.bits_per_byte),
                "perplexity": pair(self.perplexity), **self.beside()}


def split(text: str, tokenizer: Tokenizer, context: int, limit: int | None = None, *, halves: bool = False,
          new: int | None = None) -> list[Document]:
    """The documents of a text, with at most `limit` scored tokens. `halves`: only the second half of each is scored, or the last
    `new` tokens if these are fewer.

    Raises ModelError if there is nothing to score.
    """
    if context < 2:
        raise ModelError("", "context", got=f"{context} position", expected="at least 2: one token predicts the next")
    documents: list[Document] = []
    left = math.inf if limit is None else limit
    for part in text.split(SEPARATOR):
        tokens = tokenizer.encode(part.strip()) if part.strip() else []
        if tokenizer.bos is not None and tokens[:1] != [tokenizer.bos] and tokens:
            tokens = [tokenizer.bos, *tokens]
        while len(tokens) > 1 and left > 0:
            taken = tokens[:int(min(context, 2 * left if halves else left + 1))]
            prompt = max(1, len(taken) // 2, len(taken) - (new or context)) if halves else 1
            whole, first = tokenizer.decode(taken), tokenizer.decode(taken[:prompt])
            documents.append(Document(taken, max(1, len(whole.encode()) - len(first.encode())), prompt))
            left -= len(taken) - prompt
            rest = tokens[len(taken):]
            tokens = [*([tokenizer.bos] if tokenizer.bos is not None else taken[-1:]), *rest] if rest else []
    if not documents:
        raise ModelError("", "text", got="fewer than two tokens", expected="a text with something to predict")
    return documents


def evaluate(documents: Sequence[Document], reference: Logits, candidate: Logits,
             progress: Callable[[int, int], None] | None = None) -> Scores:
    """Score both on the same documents."""
    return evaluate_pairs(documents, (reference, candidate), ((0, 1),), progress)[0]


def evaluate_pairs(documents: Sequence[Document], models: Sequence[Logits], pairs: Sequence[tuple[int, int]],
                   progress: Callable[[int, int], None] | None = None) -> list[Scores]:
    """Score several models on the same documents. `pairs`: numbers of (reference, candidate); Scores for each pair."""
    every, done = sum(len(document.tokens) - document.prompt for document in documents), 0
    results = [Scores() for _ in pairs]
    for document in documents:
        found_by = (model(document.tokens[:-1], document.prompt) for model in models)
        for following, *logits in zip(document.tokens[document.prompt:], *found_by, strict=True):
            found = [_log_probabilities(each) for each in logits]
            for scores, (reference, candidate) in zip(results, pairs, strict=True):
                p, q = found[reference], found[candidate]
                scores.bits = (scores.bits[0] - p[following] / math.log(2), scores.bits[1] - q[following] / math.log(2))
                scores.agreed += int(p.argmax() == q.argmax())
                scores.divergence += float(np.sum(np.exp(p) * (p - q)))
                scores.tokens += 1
            done += 1
            if progress:
                progress(done, every)
        for scores in results:
            scores.size += document.size
    return results


def _log_probabilities(logits: F32) -> npt.NDArray[np.float64]:
    values = logits.astype(np.float64)
    values -= values.max()
    result: npt.NDArray[np.float64] = values - math.log(np.exp(values).sum())
    return result


# ------------------------------------------------------------------------------------------------ who gives logits


def of_graph(executor: Executor) -> Logits:
    """Logits of a graph, as the executor computes it."""
    def logits(tokens: Sequence[int], prompt: int = 1) -> Iterator[F32]:
        executor.restart()
        yield executor.read(tokens[:prompt])
        for token in tokens[prompt:]:
            yield executor.step(token)
    return logits


def of_program(machine: ReferenceMachine, program: Program) -> Logits:
    """Logits of a compiled program on a machine on which it is loaded: it shows them. Each document starts the program again.

    Raises ModelError if the program ends in another way.
    """
    cuts = program.symbol("prompt_tokens") is not None
    machine.peek(program.address("all_logits"), 8)[:] = np.frombuffer(struct.pack("<Q", 1), np.uint8)

    def logits(tokens: Sequence[int], prompt: int = 1) -> Iterator[F32]:
        found: list[F32] = []
        if cuts:
            machine.peek(program.address("prompt_tokens"), 8)[:] = np.frombuffer(struct.pack("<Q", prompt), np.uint8)
        machine.pc, machine.exit_code = program.entry, None
        machine.host = Host(tokens, show=lambda numbers: found.append(numbers.copy()))
        result = machine.run().unless_interrupted()
        if result.reason != "exit" or result.exit_code or len(found) != len(tokens) - (prompt - 1 if cuts else 0):
            code = "" if result.exit_code is None else f", exit code {result.exit_code}"
            raise ModelError("", "program", got=f"it ended with {result.trap or result.reason}{code}",
                             expected=f"logits at {len(tokens)} positions")
        yield from found[0 if cuts else prompt - 1:]
    return logits
