"""`python -m faustc`: the command line."""

from faustc.cli import main

if __name__ == "__main__":
    main()
