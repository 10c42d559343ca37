"""Which of several processes this one is, also before a process group exists."""

import os

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Whether this process is the one that writes files and speaks: rank 0, also under torchrun and SLURM."""
    # Lightning's own launcher names the machine before it knows a rank.
    return getattr(rank_zero_only, "rank", 0) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0
