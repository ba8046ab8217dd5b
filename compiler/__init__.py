"""Model checkpoints to programs.

    frontends/      files -> Model: llama2.c, Hugging Face directories, GGUF
    model.py        what a model is: configuration, tensors by role
    tensors.py      tensors that lie in mapped files, read block by block; their codes and scales
    tokenizer.py    text <-> tokens
    graph/          the float graph: operations, checks, executor in NumPy

Will hold: passes (quantise, sparsify), lowering per unit, memory plan, verify and generate. Imports isa and asm; emulator only in
verify and generate. Whatever is wrong with a user's model is a ModelError (errors.py).
"""
