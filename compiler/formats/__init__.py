"""Formats in which matrices are stored: weight_format.py has a record for each, recipe.py chooses them, scales.py and codebook.py
fit them to a matrix.
"""
