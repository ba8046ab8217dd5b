"""Options of config.json: what all families read alike, and what none reads: harmless, or allowed with certain values."""

from __future__ import annotations

from compiler.frontends.options import Allowed, Options

ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu", "relu2": "relu2", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
"""Ours, by the names of transformers."""


def positions(options: Options, default: int) -> int:
    """Positions that a model was made for. Conversions of the first LLaMA call them max_sequence_length, or do not say."""
    said = options.whole("max_position_embeddings", options.whole("max_sequence_length"))
    if said is None:
        options.notes.append(f"max_position_embeddings is missing: {default} positions, as in transformers")
    return default if said is None else said


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
    num_labels tie_last_hidden_states router_aux_loss_coef attention_probs_dropout_prob hidden_dropout_prob classifier_dropout
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Training, sampling and book-keeping."""


ALLOWED: dict[str, Allowed] = {
    "partial_rotary_factor":         Allowed(lambda v: v == 1, "1.0", "rope of a part of a head is not supported"),
    "rope_interleaved":              Allowed(lambda v: not v, "false", "rope of neighbours is not supported here"),
    "use_sliding_window":            Allowed(lambda v: not v, "false", "a window in some layers only is not supported"),
    "layer_types":                   Allowed(lambda v: isinstance(v, list) and all(kind == "full_attention" for kind in v),
                                             '"full_attention" in every layer'),
    "layer_norm_elementwise_affine": Allowed(lambda v: v is True, "true", "layer norms without gain are not supported"),
    "is_decoder":                    Allowed(lambda v: isinstance(v, bool), "true or false"),
    "is_encoder_decoder":            Allowed(lambda v: not v, "false", "models with an encoder are not supported"),
    "attn_logit_softcapping":        Allowed(lambda v: not v, "null", "capped attention scores are not supported"),
    "final_logit_softcapping":       Allowed(lambda v: not v, "null", "capped logits are not supported"),
    "num_local_experts":             Allowed(lambda v: not v, "none", "mixtures of experts are not supported"),
    "num_experts":                   Allowed(lambda v: not v, "none", "mixtures of experts are not supported"),
    "alibi":                         Allowed(lambda v: not v, "false", "ALiBi positions are not supported"),
}
"""Options that change the model. With these values it is still a model that we compute."""
