"""The base class of stage loggers, which record scalars; the run's config is written elsewhere."""

from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class StageLogger(Logger):
    """Logger of one stage's scalars; subclasses write them in ``log_metrics``.

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
        """Do nothing: the config is in ``config.yaml``, and Weights & Biases receives it when the run starts."""
