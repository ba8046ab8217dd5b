"""config.json, option by option: what is read, what may be ignored, what is refused.

Nothing is skipped silently: an option is read, or stands in HARMLESS because it does not change what the model computes, or has a
value that ALLOWED or emptiness makes harmless. Everything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from compiler.errors import ModelError, nearest, one_of

T = TypeVar("T")

_HARMLESS = """
    architectures model_type transformers_version torch_dtype dtype _name_or_path auto_map use_cache pretraining_tp return_dict
    attention_dropout hidden_dropout dropout activation_dropout layerdrop embd_pdrop resid_pdrop initializer_range init_std
    pad_token_id unk_token_id sep_token_id mask_token_id prefix max_window_layers tokenizer_class torchscript gradient_checkpointing
    output_attentions output_hidden_states id2label label2id problem_type chunk_size_feed_forward finetuning_task
    task_specific_params
    _attn_implementation attn_implementation _attn_implementation_autoset _flash_attn_2_enabled use_flash_attn bad_words_ids
    max_length min_length temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size num_beams
    num_beam_groups num_return_sequences diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    begin_suppress_tokens suppress_tokens forced_bos_token_id forced_eos_token_id decoder_start_token_id
    exponential_decay_length_penalty
    remove_invalid_values return_dict_in_generate output_scores tf_legacy_loss use_bfloat16 unsloth_version unsloth_fixed
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Training, sampling and book-keeping."""


class Option:
    """What an option may be besides absent, null, false, or empty: `holds(value)`, and why anything else is refused."""

    def __init__(self, holds: Callable[[Any], bool], expected: str, hint: str = "") -> None:
        self.holds, self.expected, self.hint = holds, expected, hint


ALLOWED: dict[str, Option] = {
    "partial_rotary_factor":         Option(lambda v: v == 1, "1.0", "rope of a part of a head is not supported"),
    "use_sliding_window":            Option(lambda v: False, "false", "a window in some layers only is not supported"),
    "layer_types":                   Option(lambda v: set(v) == {"full_attention"}, '"full_attention" in every layer'),
    "layer_norm_elementwise_affine": Option(lambda v: v is True, "true", "layer norms without gain are not supported"),
    "is_decoder":                    Option(lambda v: v is True, "true"),
    "is_encoder_decoder":            Option(lambda v: False, "false", "models with an encoder are not supported"),
    "attn_logit_softcapping":        Option(lambda v: False, "null", "capped attention scores are not supported"),
    "final_logit_softcapping":       Option(lambda v: False, "null", "capped logits are not supported"),
    "num_local_experts":             Option(lambda v: False, "none", "mixtures of experts are not supported"),
    "num_experts":                   Option(lambda v: False, "none", "mixtures of experts are not supported"),
    "alibi":                         Option(lambda v: False, "false", "ALiBi positions are not supported"),
}
"""Options that are known and change the model: with these values it is still what we compute."""


class Options:
    """The options of a configuration file, or of an object in it. Those that were asked for are remembered."""

    def __init__(self, file: Path, values: dict[str, Any], place: str = "") -> None:
        self.file, self.values, self.place = file, values, place
        self._read: set[str] = set()

    def error(self, key: str, *, expected: str, got: str = "", hint: str = "") -> ModelError:
        value = self.values.get(key)
        text = got or ("missing" if key not in self.values else repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "...")
        return ModelError(self.file, self.place + key, got=text, expected=expected, hint=hint)

    def _value(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any, required: bool) -> Any:
        self._read.add(key)
        value = self.values.get(key)
        if value is None and (key in self.values or not required):
            value = default
        if value is None and not required:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, expected=expected)
        return value

    def size(self, key: str) -> int:
        """A positive whole number that must be there."""
        value: int = self._value(key, int, "a positive whole number", None, True)
        if value <= 0:
            raise self.error(key, expected="a positive whole number")
        return value

    def whole(self, key: str, default: int | None = None) -> int | None:
        value: int | None = self._value(key, int, "a whole number", default, False)
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A number; required without a default."""
        return float(self._value(key, (int, float), "a number", default, default is None))

    def flag(self, key: str, default: bool) -> bool:
        value: bool = self._value(key, bool, "true or false", default, False)
        return value

    def choice(self, key: str, table: dict[str, T], default: str | None = None) -> T:
        """The entry of `table` that the option names."""
        value = self._value(key, str, one_of(table), default, default is None)
        if value not in table:
            raise self.error(key, expected=one_of(table), got=repr(value), hint=nearest(value, table))
        return table[value]

    def tokens(self, key: str) -> frozenset[int]:
        """A token, a list of them, or none."""
        self._read.add(key)
        value = self.values.get(key)
        tokens = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
            raise self.error(key, expected="a token or a list of tokens")
        return frozenset(tokens)

    def table(self, key: str) -> Options:
        """An object in this one; empty where there is none."""
        value = self._value(key, dict, "an object", {}, False)
        return Options(self.file, value, f"{self.place}{key}.")

    def check_rest(self) -> None:
        """Raise ModelError for the first option that was not read and may not be ignored."""
        for key, value in self.values.items():
            if key in self._read or key in HARMLESS or value is None or value is False or value in ([], {}, ""):
                continue
            allowed = ALLOWED.get(key)
            if allowed is None:
                raise self.error(key, got=f"unknown option, {value!r}"[:100], expected="options that this program knows",
                                 hint=nearest(key, self._read) or "it may change what is computed; if it does not, remove it")
            if not allowed.holds(value):
                raise self.error(key, expected=allowed.expected, hint=allowed.hint)
