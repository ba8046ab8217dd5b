"""A model, whatever file it came from: model.py has its configuration and its tensors by role, tensors.py how these are read,
tokenizer.py text to tokens and back.
"""
