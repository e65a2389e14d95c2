"""`python -m haybarn` is the console script `haybarn`."""

import sys

from haybarn.cli import main

if __name__ == "__main__":
    sys.exit(main())
