"""`python -m splitft` is the command line."""

from splitft.cli import main

if __name__ == "__main__":
    main()
