"""Is it right? verify_chain.py is the chain of trust: against_transformers.py its first step, verify.py its third. evaluate.py: how
well the model predicts a text.
"""
