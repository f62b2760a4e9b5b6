"""The one record: trees of reasoning."""

from espalier.trees.forest import Forest
from espalier.trees.ledger import Ledger
from espalier.trees.node import AUTHORS, STOPS, Author, Node, Score, Stop, Tree

__all__ = ["AUTHORS", "STOPS", "Author", "Forest", "Ledger", "Node", "Score", "Stop", "Tree"]
