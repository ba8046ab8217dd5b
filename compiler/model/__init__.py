"""A model, whatever file it came from: model.py has its configuration and its tensors by role, tensors.py how these are read,
monarch.py the two stages of block-diagonal matrices, tokenizer.py text to tokens and back.
"""
