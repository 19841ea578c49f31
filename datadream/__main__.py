"""`python -m datadream`."""

from datadream.cli.main import main

if __name__ == "__main__":
    main()
