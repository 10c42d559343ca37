"""When a stage saves: between two chunks of steps, where nothing is half done."""

import time

import torch
from lightning.fabric import Fabric

from aepretrain.errors import StoppedError
from aepretrain.training.divergence import check_weights
from aepretrain.training.options import Saving
from aepretrain.training.recovery.checkpoints import Checkpoints
from aepretrain.training.recovery.signals import received, words
from aepretrain.training.recovery.stage_files import StageFiles
from aepretrain.training.state import TrainingState


class SavePoints:
    """Save every so many minutes or steps, and when a signal asks the run to stop; then stop.

    Between two chunks the step before is over, and so are validation and the end of the epoch before. What comes later
    is a function of what is saved, so a run that goes on from here ends with the same bits.

    Args:
        stage: The stage's name.
        saving: How often to save.
        files: The stage's files; ``None`` saves nothing, and only stops.
        fabric: The processes, which save and stop together.
        step: How many steps of the stage are done already.
        checks: Whether weights have to be finite to be saved.
    """

    def __init__(
        self, stage: str, saving: Saving, files: StageFiles | None, fabric: Fabric, *, step: int, checks: bool = True
    ) -> None:
        self.stage = stage
        self.saving = saving
        self.files = files
        self.fabric = fabric
        self.checks = checks
        self._saved_at, self._saved_step = time.monotonic(), step

    @property
    def every_steps(self) -> int | None:
        """Steps from one checkpoint to the next; ``None`` where steps decide nothing, or nothing is saved."""
        return None if self.files is None else self.saving.every_steps

    def save_or_stop(self, state: TrainingState) -> None:
        """Save where that is due, and leave where a signal came, on all processes.

        Raises:
            StoppedError: If a signal asks the run to stop.
            DivergedError: If what is to be saved is not finite: the checkpoint before it stays.
        """
        due, signum = self._agree(self._is_due(state.step), received())
        if (due or signum) and self.files is not None:
            if self.checks:
                check_weights(state.module, self.stage, state.step)
            kept = state.state_dict()  # on all processes: each has a share of it
            Checkpoints(self.files).save({**kept, "metrics_bytes": self.files.state.metrics_bytes()})
            self._saved_at, self._saved_step = time.monotonic(), state.step
        if signum:
            saved = ", which is saved" if self.files is not None else ""
            raise StoppedError(f"stopped by {words(signum)} in {self.stage} before step {state.step}{saved}.", signum)

    def _is_due(self, step: int) -> bool:
        every_steps, every_minutes = self.every_steps, self.saving.every_minutes
        if self.files is None or step == self._saved_step:
            return False
        if every_steps is not None and step % every_steps == 0:
            return True
        return every_minutes is not None and time.monotonic() - self._saved_at >= 60 * every_minutes

    def _agree(self, due: bool, signum: int) -> tuple[bool, int]:
        """Whether to save, and by which signal to stop: the same on all processes, whichever of them asks."""
        if self.fabric.world_size > 1:
            asked = torch.tensor([int(due), signum], device=self.fabric.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            due, signum = bool(asked[0]), int(asked[1])
        return due, signum
