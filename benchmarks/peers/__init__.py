"""The peers' contestants; each module runs in its peer's own environment and imports nothing of Espalier."""
