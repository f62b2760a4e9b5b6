"""Small tasks with exact verifiers, for the demo, tests and papers."""

from espalier.worlds.arithmetic import Arithmetic, ArithmeticStepVerifier, ArithmeticVerifier

__all__ = ["Arithmetic", "ArithmeticStepVerifier", "ArithmeticVerifier"]
