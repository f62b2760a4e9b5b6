"""The command tree. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from cyclopts import App, Parameter

from espalier import __version__
from espalier.cli import audit, curate, demo, forests, label, search, train, view

app = App(
    name="espalier",
    help="Train, search and audit language models on trees of reasoning.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)
app.command(demo.demo)
app.command(train.train)
app.command(forests.sample)
app.command(forests.score)
app.command(label.label)
app.command(search.search)
app.command(curate.curate)
app.command(audit.app)
app.command(view.view)
