"""``python -m aepretrain``."""

import sys

from aepretrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
