"""`python -m covidct` is `covidct`."""

import sys

from covidct.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
