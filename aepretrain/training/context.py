"""The context that all stages of a run share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.fabric import Fabric
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from aepretrain.data.rows import Inputs
from aepretrain.errors import ConfigError
from aepretrain.layers.base import StageModule
from aepretrain.training.devices import launched
from aepretrain.training.options import OnNaN, Saving, TrainerOptions
from aepretrain.training.recovery.stage_files import StageFiles

LoggerFactory = Callable[[str], Sequence[Logger]]
"""Makes the loggers of a stage from its name."""
CallbackFactory = Callable[[], Callback]
"""Makes a new Lightning callback for every stage: a shared one would carry its state over to the next stage."""

EpochEnd = Callable[[str, StageModule, Sequence[Inputs], int], None]
"""Called with a stage's name, its module, its validation data and the number of finished epochs, after each of them. It
leaves the module as it is and draws no random numbers from the global generator."""


def no_loggers(stage: str) -> Sequence[Logger]:
    """Return no loggers."""
    return ()


@dataclass(frozen=True)
class RunContext:
    """The context that all stages of one run share.

    Args:
        seed: The run's seed.
        trainer: Devices, precision and engine.
        out: The run directory; ``None`` writes nothing.
        loggers: Makes each stage's loggers.
        callbacks: Factories of Lightning callbacks, called for every stage; only for ``trainer.engine`` ``lightning``.
        progress: Whether to show a progress bar.
        saving: How often a stage saves a checkpoint.
        on_nan: ``stop`` if a loss is not finite, or ``skip`` and count updates whose gradients are not finite.
        on_epoch: What else is done after every epoch of the built-in loop; ``None``: nothing.
        resume: Resume the run in ``out``: load finished stages, continue the interrupted one from its checkpoint.

    Raises:
        ConfigError: If callbacks are combined with the built-in loop, or ``skip`` with Lightning's Trainer.

    Example:
        >>> RunContext(seed=3, out=Path("runs/a")).stage_folder("00-sparse").as_posix()
        'runs/a/stages/00-sparse'
    """

    seed: int = 0
    trainer: TrainerOptions = TrainerOptions()
    out: Path | None = None
    loggers: LoggerFactory = no_loggers
    callbacks: Sequence[CallbackFactory] = ()
    progress: bool = True
    saving: Saving = Saving()
    on_nan: OnNaN = "stop"
    on_epoch: EpochEnd | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if made := [type(each).__name__ for each in self.callbacks if not callable(each)]:
            raise ConfigError(
                f"callbacks must be functions that make a new one for every stage, but {made[0]} is none. Give "
                f"lambda: {made[0]}(...)."
            )
        if self.callbacks and self.trainer.engine == "loop":
            raise ConfigError(
                f"callbacks are called by Lightning's Trainer, and trainer.engine is loop: {len(self.callbacks)} would "
                "never be called. Set --trainer.engine lightning, or leave them out."
            )
        if self.on_nan == "skip" and self.trainer.engine == "lightning":
            raise ConfigError("on_nan skip is for trainer.engine loop, but that is lightning. Set on_nan to stop.")

    @property
    def fabric(self) -> Fabric:
        """The Fabric of the run; its processes are launched at the first access."""
        return launched(self.trainer)

    def stage_folder(self, stage: str) -> Path | None:
        """Folder of a stage's checkpoints and pictures; ``None`` without a run directory."""
        files = self.files(stage)
        return None if files is None else files.folder

    def files(self, stage: str) -> StageFiles | None:
        """Files of a stage; ``None`` without a run directory."""
        return None if self.out is None else StageFiles(Path(self.out), stage)

    def is_finished(self, stage: str) -> bool:
        """Whether the run is resumed and a stage is complete, pictures included."""
        files = self.files(stage)
        return self.resume and files is not None and files.state.stage(stage).get("status") == "finished"

    def is_trained(self, stage: str) -> bool:
        """Whether the run is resumed and loads a stage's weights from its files."""
        files = self.files(stage)
        return self.resume and files is not None and files.is_trained

    def finish(self, stage: str) -> None:
        """Record that a stage has written all of its files."""
        if (files := self.files(stage)) is not None:
            files.state.finish(stage)
