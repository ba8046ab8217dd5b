"""Families of models that are not supported, and what they compute that ours do not: the hint of an error.

Names are the classes of transformers and general.architecture of GGUF. The hint says what is missing here. It never proposes the
name of another family: a user who edits the name in a file would get wrong text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from isa.hints import nearest

_EXPERTS = "a mixture of experts: a router that picks feed-forward layers for each token"
_RECURRENT = "state-space or recurrent layers in place of attention"
_BESIDE = "attention and feed-forward layer side by side, of one norm"

# The beginning of a name, in small letters without - _ and . , and what such a model has. The first row that fits counts.
_LACKS: tuple[tuple[str, str], ...] = (
    (r".*(conditionalgeneration|vision|vlm?(moe)?$|vlfor|audio|speech|ocr)|clip|llava|chameleon|fuyu|mllama|whisper|musicgen",
     "images or sound at its input, or an encoder (the language model in it may be saved alone, under its own class)"),
    (r".*(sequenceclassification|tokenclassification|questionanswering|maskedlm)", "a head that is no language model's"),
    (r"u?mt5|t5|m?bart|plbart|mvp|pegasus|marian|blenderbot|prophetnet|bigbirdpegasus", "an encoder beside its decoder"),
    (r"\w*bert|\w*roberta|electra|xlm|xlnet|eurobert|reformer|roformer|rocbert", "layers of an encoder (BERT and its relatives)"),
    (r"jamba|granitehybrid|granitemoehybrid|nemotronh|falconh1|lfm|zamba|zaya|bamba|plamo2|qwen3next|qwen35|kimilinear|recurrentgemma"
     r"|olmohybrid|bailinghybrid|minimaxfor", _RECURRENT + ", in some layers"),
    (r"mamba|falconmamba|a?rwkv|xlstm|retnet", _RECURRENT),
    (r"deepseekv?[234]|minicpm3|plm|youtu|longcat|glmdsa|glmmoedsa|kimi", "latent attention (MLA), and often a mixture of experts"),
    (r"\w*moe|mixtral|dbrx|grok|arctic|deepseek|llama4|gptoss|smallthinker|dots|minimax|mimo|flexolmo|bailing|solaropen|rnd1",
     _EXPERTS),
    (r"gemma[2-9]|vaultgemma", "norms with gain 1 + w before and behind a layer, scaled embeddings, windows in some layers"),
    (r"gemma", "norms with gain 1 + w, and embeddings scaled by the root of their size"),
    (r"phi[34]", "q, k and v in one matrix, gate and up in another, and for long contexts another rope (longrope)"),
    (r"phi|gptj|codegen|persimmon", _BESIDE + ", and rope of a part of a head"),
    (r"gptneox|pythia", _BESIDE + ", rope of a part of a head, and q, k and v in one matrix"),
    (r"falcon|rwfor|rw$|refinedweb", _BESIDE + ", and q, k and v in one matrix"),
    (r"cohere|commandr", _BESIDE + ", and scaled logits"),
    (r"gpt|openaigpt|ctrl|jais|biogpt|xglm|starcoder|codeshell|santacoder",
     "layernorms and a feed-forward layer without gate in another layout than an OPT's"),
    (r"bloom|mpt|refact|baichuan", "q, k and v in one matrix, and mostly ALiBi positions"),
    (r"stablelm|nemotron", "layernorms, and rope of a part of a head"),
    (r"granite|minicpm", "factors on embeddings, residuals and logits"),
    (r"olmo[23]", "norms behind attention and feed-forward layers, and over all heads at once"),
    (r"olmo", "layernorms without gains"),
    (r"internlm[23]|chatglm|glm|qwenfor|qwen$|qwenlmhead|xverse|orion",
     "another layout of q, k and v, or rope of a part of a head"),
    (r"smollm3|exaone4|ministral|cwm", "layers without rope, or windows in some layers"),
    (r"arcee|apertus|openelm|deci|diffllama|nanochat|helium|seedoss|plamo|hunyuan|ernie|mistral[34]",
     "layers that are near a Llama's and not the same"),
)


_NEAR = {"BitnetForCausalLM": "a class of its own (1bitLLM's), with other tensors than BitNetForCausalLM; its GGUF files are read"}
"""Names of other families that differ from one of ours by a letter."""


def hint(name: str, known: Iterable[str]) -> str:
    """What the model of this name has that is not supported; or, for a typing error, the name that was meant; or ""."""
    if name in _NEAR:
        return _NEAR[name]
    known = list(known)
    plain = _plain(name)
    if slip := next((ours for ours in known if _plain(ours) == plain), None):
        return f"did you mean {slip!r}?"
    lacks = next((lacks for pattern, lacks in _LACKS if re.match(pattern, plain)), "")
    if lacks:
        return f"such a model has {lacks}; that is not supported"
    number = re.sub(r"\D", "", name)            # another number is another family, not a typing error
    return nearest(name, (ours for ours in known if re.sub(r"\D", "", ours) == number), cutoff=0.9)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower())
