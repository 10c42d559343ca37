"""The command in a process of its own, whose W&B sees nothing of this machine's."""

import os

import matplotlib

PLANTED = "planted0key1" * 4
SHORT = ("--pretrain.epochs=2", "--finetune.epochs=2", "--data.labels=200")
# argv is what W&B stores of a command line, so the planted key is in it, though not as an option.
COMMAND = f"""
import sys
from aepretrain.cli.main import main
sys.exit(main([word for word in sys.argv[1:] if word != {PLANTED!r}]))
"""


def environment(folder, **variables):
    """The environment of a subprocess whose W&B sees nothing of this machine's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own |= {"WANDB_CONFIG_DIR": str(folder / "config"), "NETRC": str(folder / "netrc"), "HOME": str(folder / "home")}
    # The list of fonts is slow to make; the home is new.
    own["MPLCONFIGDIR"] = matplotlib.get_cachedir()
    return own | variables
