"""``python -m aepretrain``."""

import sys

from aepretrain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
