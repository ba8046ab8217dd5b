"""Model checkpoints to programs. The chapters, in the order of the story:

    frontends/      files -> Model: llama2.c, Hugging Face directories, GGUF
    model/          what a model is: configuration, tensors by role, text <-> tokens
    formats/        formats of weights: a record for each, how a recipe chooses them, scales and codebooks that fit a matrix
    graph/          the float graph: operations, checks, executor in NumPy
    passes/         graph -> graph: quantised weights, int8 keys and values, neurons left alone, products in banks
    placing/        where weights, caches and activations lie
    lowering/       operations -> assembly, and the loops around them
    targets/        what a machine means for all of this: where things lie, which pass, which checks
    running/        a program at work on a prompt; programs that are kept
    checking/       the chain of trust down to transformers; accuracy on a text
    measuring/      what a token costs on this host; models of known sizes for it

compile.py goes through them in order and makes a compiled.py; settings.py is how a command is told to.

Imports isa and asm; emulator only in running and checking. Whatever is wrong with a user's model is a ModelError (errors.py).
"""
