"""`datadream` and `python -m datadream`: a Ctrl-C while the commands are still being imported ends quietly, too."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from datadream.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
