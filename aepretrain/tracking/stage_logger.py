"""What the loggers of a stage share: they take scalars, and the run's config is written elsewhere."""

from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class StageLogger(Logger):
    """Logger of one stage's scalars; a subclass says in ``log_metrics`` where they go.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    @property
    def name(self) -> str:
        """The stage."""
        return self.stage

    @property
    def version(self) -> str:
        """Empty: a run directory holds one run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is in ``config.yaml``, and Weights & Biases gets it at the run's start."""
