"""What all stages of a run share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.fabric import Fabric
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from aepretrain.errors import ConfigError
from aepretrain.training.devices import launched
from aepretrain.training.options import OnNaN, Saving, TrainerOptions
from aepretrain.training.recovery.run_state import StageFiles

LoggerFactory = Callable[[str], Sequence[Logger]]
"""Makes the loggers of a stage from its name."""
CallbackFactory = Callable[[], Callback]
"""Makes a callback of Lightning, anew for every stage: one that is shared would carry its state on to the next."""


def no_loggers(stage: str) -> Sequence[Logger]:
    """Log nowhere."""
    return ()


@dataclass(frozen=True)
class RunContext:
    """What all stages of one run share.

    Args:
        seed: The run's seed.
        trainer: Devices, precision and engine.
        out: The run directory; ``None`` writes nothing.
        loggers: Makes each stage's loggers.
        callbacks: Make callbacks of Lightning, anew for every stage; for ``trainer.engine`` ``lightning`` alone.
        progress: Whether to show a progress bar.
        saving: How often a stage saves where it stands.
        on_nan: What to do when a loss is not finite: ``stop``, or ``skip`` the update and count.
        resume: Take up what ``out`` holds: finished stages as they are, the one that ran where it last saved.

    Raises:
        ConfigError: If there are callbacks, and our own loop trains, or updates are skipped, and Lightning trains.

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
    resume: bool = False

    def __post_init__(self) -> None:
        if self.callbacks and self.trainer.engine == "loop":
            raise ConfigError(
                f"callbacks are called by Lightning's Trainer, and trainer.engine is loop: {len(self.callbacks)} would "
                "never be called. Set --trainer.engine lightning, or leave them out."
            )
        if self.on_nan == "skip" and self.trainer.engine == "lightning":
            raise ConfigError("on_nan skip is for trainer.engine loop, but that is lightning. Set on_nan to stop.")

    @property
    def fabric(self) -> Fabric:
        """The one Fabric of the run; its processes are started when it is first asked for."""
        return launched(self.trainer)

    def stage_folder(self, stage: str) -> Path | None:
        """Where the checkpoints and pictures of a stage go."""
        files = self.files(stage)
        return None if files is None else files.folder

    def files(self, stage: str) -> StageFiles | None:
        """What a stage leaves on the disk; ``None`` without a run directory."""
        return None if self.out is None else StageFiles(Path(self.out), stage)

    def is_finished(self, stage: str) -> bool:
        """Whether a run that is resumed has nothing left to do for a stage, pictures included."""
        files = self.files(stage)
        return self.resume and files is not None and files.state.stage(stage).get("status") == "finished"

    def is_trained(self, stage: str) -> bool:
        """Whether a run that is resumed takes the weights of a stage from its files."""
        files = self.files(stage)
        return self.resume and files is not None and files.is_trained

    def finish(self, stage: str) -> None:
        """Record that a stage left everything it has to leave."""
        if (files := self.files(stage)) is not None:
            files.state.finish(stage)
