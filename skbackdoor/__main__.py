"""The command `skbackdoor`, also `python -m skbackdoor`."""

import sys


def main():
    """Run the command line, and give its exit status: 0, 1 or 2."""
    from .audit.command import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
