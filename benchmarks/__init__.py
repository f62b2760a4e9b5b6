"""Espalier beside its peers: the same work on the same machine, in turn; see docs/benchmarks.md."""
