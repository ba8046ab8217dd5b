"""Formats of few bits: recipe.py chooses them, scales.py and codebook.py fit them to a matrix."""
