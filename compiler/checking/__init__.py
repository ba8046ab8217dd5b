"""Is it right? verify_chain.py is the chain of trust; against_transformers.py is its first step, verify.py its third. evaluate.py
measures how well the model predicts a text.
"""
