"""Which of several processes this one is, also before a process group exists."""

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Whether this process is the one that writes files and speaks: rank 0, also under torchrun and SLURM."""
    return getattr(rank_zero_only, "rank", 0) == 0
