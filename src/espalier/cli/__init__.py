"""What a person types: `espalier demo | train | sample | score | search | audit | view`."""

from __future__ import annotations

import sys


def main() -> None:
    """The `espalier` command. Exit code 2 says that the user must change something, 130 that Ctrl-C stopped it."""
    from rich.console import Console

    from espalier.cli.app import app
    from espalier.errors import EspalierError

    try:
        app()
    except EspalierError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("[yellow]stopped;[/] what was finished is on disk")
        sys.exit(130)
