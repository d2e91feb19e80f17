"""`python -m harness`: hands over to the command line."""

import sys

from harness.cli import run

if __name__ == "__main__":
    sys.exit(run())
