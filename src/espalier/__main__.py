"""`python -m espalier` is the `espalier` command."""

from espalier.cli import main

if __name__ == "__main__":
    main()
