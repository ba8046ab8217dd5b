"""Model checkpoints to programs.

    frontends/      files -> Model: llama2.c, Hugging Face directories, GGUF
    model.py        what a model is: configuration, tensors by role
    tensors.py      tensors that lie in mapped files, read block by block; their codes and scales
    tokenizer.py    text <-> tokens
    graph/          the float graph: operations, checks, executor in NumPy
    recipe.py, quantise.py      the pass to formats of few bits; codebook.py: values that fit a matrix
    sparsify.py, calibrate.py   the pass that leaves neurons alone; neurons.py: how many it were
    kv_cache.py                 the pass to int8 keys and values
    weights.py, memory_plan.py  where weights, caches and activations lie
    emit.py, lowering/          operations to assembly; program.py, sampling.py: the loop around them
    compile.py                  all of it in order; settings.py: as a command is told to; parameters.py: what the host sets
    generate.py, cache.py       a program at work on a prompt; programs that are kept
    evaluate.py                 accuracy on a text
    verify_chain.py             the chain of trust; verify.py: its third step, operation by operation
    measure.py, shapes.py       what a token costs on this host; models of known sizes for it

Imports isa and asm; emulator only in verify and generate. Whatever is wrong with a user's model is a ModelError (errors.py).
"""
