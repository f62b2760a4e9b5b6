"""Whole studies with the public API, each a module to run: `python -m examples.NAME`."""
