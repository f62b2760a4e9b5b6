"""What a person types: `espalier demo | train | sample | score | search | audit | view`."""

from __future__ import annotations

import sys


def main() -> None:
    """The `espalier` command. Exit code 2 says that the user must change something, 130 that Ctrl-C stopped it."""
    from cyclopts import CycloptsError
    from rich.console import Console
    from rich.markup import escape

    from espalier.cli.app import app
    from espalier.errors import EspalierError

    console = Console(stderr=True)
    try:
        app(sys.argv[1:], exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what is wrong with the command line
    except (EspalierError, OSError) as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("[yellow]stopped;[/] what was finished is on disk")
        sys.exit(130)
