"""The demo model's tokenizer: byte-level BPE with one special token, which begins and ends a story."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SEPARATOR = "<|endoftext|>"     # also what stands between two stories in the text files
SEPARATOR_ID = 0


def stories_of(text: str) -> list[str]:
    """The stories of a text, without the white space around them and the separators between them."""
    return [story for part in text.split(SEPARATOR) if (story := part.strip())]


def train_tokenizer(stories: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of `vocabulary` pieces whose encoding of a text starts with the separator."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SEPARATOR} $A", special_tokens=[(SEPARATOR, SEPARATOR_ID)])
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[SEPARATOR], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(stories, trainer)
    return tokenizer
