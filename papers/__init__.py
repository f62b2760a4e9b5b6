"""Published claims, measured again: one short file each, with a verdict rule that was written before the run."""

from papers.figure import Lines
from papers.paper import Above, Below, Less, Near, Paper, Result, Rule

__all__ = ["Above", "Below", "Less", "Lines", "Near", "Paper", "Result", "Rule"]
