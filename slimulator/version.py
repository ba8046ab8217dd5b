"""The version of Slimulator, as in pyproject.toml."""

VERSION = "0.1.0"
