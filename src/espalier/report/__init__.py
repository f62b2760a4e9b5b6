"""What a person sees: one page a run, tables and trees in the terminal, progress bars."""

from espalier.report.build import overoptimisation_part, reliability_part, row, write_report
from espalier.report.html import write_html
from espalier.report.parts import (
    Bin,
    Curve,
    Difference,
    Overoptimisation,
    Reliability,
    Report,
    Row,
    ShownTree,
)
from espalier.report.progress import Bar, track
from espalier.report.run import view_run
from espalier.report.save import from_json, to_json
from espalier.report.terminal import print_tables, tables, tree_text

__all__ = [
    "Bar",
    "Bin",
    "Curve",
    "Difference",
    "Overoptimisation",
    "Reliability",
    "Report",
    "Row",
    "ShownTree",
    "from_json",
    "overoptimisation_part",
    "print_tables",
    "reliability_part",
    "row",
    "tables",
    "to_json",
    "track",
    "tree_text",
    "view_run",
    "write_html",
    "write_report",
]
