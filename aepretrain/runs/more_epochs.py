"""More epochs of fine-tuning for a finished run."""

from dataclasses import replace
from pathlib import Path

from aepretrain.errors import ConfigError
from aepretrain.processes import is_first_process
from aepretrain.results.run import RunResult
from aepretrain.runs.experiment import Experiment
from aepretrain.training.recovery.run_state import RunState


def add_epochs(experiment: Experiment, out: Path, more: int) -> Experiment:
    """Open fine-tuning of a finished run again, for more epochs.

    A run that resumes with the result ends bit for bit as one that had the larger number from the start: fine-tuning
    goes on from its last checkpoint if ``checkpoint.keep_last`` kept it, and else repeats its epochs from the
    pretrained encoder. Pretraining stays as it is.

    Args:
        experiment: The experiment of the run.
        out: The run directory.
        more: Number of epochs to add, at least 1.

    Returns:
        The experiment with more epochs, for ``run(out, resume=True)``.

    Raises:
        ConfigError: If ``more`` is below 1, the run is not finished or did not fine-tune, or patience ended it.
        StorageError: If a file of the run is damaged.

    Example:
        >>> import tempfile
        >>> from aepretrain import Dense, Digits, FineTuning, PlainAutoencoder, Pretraining
        >>> experiment = Experiment([lambda s: PlainAutoencoder(s, Dense(4))], Digits(labels=100),
        ...                         Pretraining(1), finetune=FineTuning(2), report=False)
        >>> out = Path(tempfile.mkdtemp()) / "run"
        >>> found = experiment.run(out)  # doctest: +ELLIPSIS
        00-plain  ...
        >>> add_epochs(experiment, out, 3).finetune.epochs
        5
    """
    stage = check_extendable(out, experiment.finetune.epochs, more)
    longer = replace(experiment, finetune=replace(experiment.finetune, epochs=experiment.finetune.epochs + more))
    reopen(out, stage)
    return longer


def check_extendable(out: Path, epochs: int, more: int) -> str:
    """Check that more epochs change a run, and that it is finished.

    Args:
        out: The run directory.
        epochs: Epochs of fine-tuning in its config.
        more: Number of epochs to add.

    Returns:
        The name of the stage of fine-tuning, ``classifier`` or ``regressor``.

    Raises:
        ConfigError: As :func:`add_epochs`.
    """
    if more < 1:
        raise ConfigError(f"--more-epochs must be >= 1, but got {more}. Usual values are 10 to 100.")
    if (status := RunState(out).status) != "finished":
        raise ConfigError(
            f"--more-epochs adds epochs to a run that is finished, but {out} is {status}. Leave it out to go on with "
            "that run, then add epochs."
        )
    results = RunResult.read(out / "results.json")
    if (found := results.head) is None:
        raise ConfigError(
            f"--more-epochs adds epochs of fine-tuning, but {out} did not fine-tune. To pretrain longer, begin a new "
            f"run with its layers by --warm_start {out}."
        )
    if found.epochs < epochs:
        raise ConfigError(
            f"--more-epochs would change nothing: patience ended fine-tuning of {out} after {found.epochs} of {epochs} "
            "epochs. Start a new run with a larger finetune.patience."
        )
    return "regressor" if results.regressor else "classifier"


def reopen(out: Path, stage: str) -> None:
    """Record that fine-tuning of a finished run goes on. From here on, ``fit --resume`` resumes the run."""
    if is_first_process():
        state = RunState(out)
        state.reopen(stage)
        state.set_status("stopped")
