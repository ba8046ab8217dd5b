"""How fast? measure.py: what a token costs on this host. shapes.py: models of known sizes for it."""
