"""Espalier's contestants, each through the public API."""
