"""The record of a trained stage, and the result of pretraining one layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aepretrain.results.records import absent, check_name, check_range

StepMode = Literal["launched", "recorded", "compiled"]
"""How an optimizer step is taken: operation by operation, from a recording, or in compiled code."""


@dataclass(frozen=True)
class StageRecord:
    """The record of a trained stage.

    Args:
        stage: The stage's name.
        epochs: Epochs trained; 0 for a frozen layer, which is measured once, under epoch 0.
        kept_epoch: The epoch, counted from 0, whose weights were kept.
        steps: Optimizer steps.
        seconds: Wall-clock time of the stage with validation and checkpoints, but without interruptions.
        history: The metrics of every epoch, under their logged names.
        device: The device, such as ``cpu`` or ``cuda:0``.
        processes: Number of processes that trained together.
        skipped_steps: Updates skipped because their gradients were not finite.
        step_mode: How most steps were taken, those of whole batches or blocks of them; ``None`` if Lightning's loop
            took them, or those of many seeds at once.
    """

    stage: str
    epochs: int
    kept_epoch: int
    steps: int
    seconds: float
    history: list[dict[str, float]]
    device: str
    processes: int
    skipped_steps: int = 0
    step_mode: StepMode | None = absent()

    def __post_init__(self) -> None:
        if not 0 <= self.kept_epoch < len(self.history):
            raise ValueError(f"kept_epoch must name one of {len(self.history)} epochs, but is {self.kept_epoch}")

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the kept epoch."""
        return self.history[self.kept_epoch]


@dataclass(frozen=True)
class StageLosses:
    """The losses of a stage's kept epoch, in nats per example, summed over features.

    Args:
        train: The objective on training data, with noise and penalties; ``None`` for a frozen layer.
        validation: The objective on validation data.
        reconstruction: The reconstruction loss alone on validation data, without noise or penalty.

    Example:
        >>> StageLosses(train=88.1, validation=87.5, reconstruction=71.2).reconstruction
        71.2
    """

    train: float | None
    validation: float
    reconstruction: float


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The result of pretraining one layer: an entry of ``stages`` in ``results.json``.

    Args:
        stage: The stage's name, such as ``00-denoising``.
        variant: The autoencoder's variant, such as ``denoising``.
        in_shape: Shape of one input, without the batch dimension.
        code_shape: Shape of one code.
        epochs: Epochs trained.
        kept_epoch: The epoch, counted from 0, whose weights were kept.
        steps: Optimizer steps.
        seconds: Wall-clock time of the whole stage.
        skipped_steps: Updates skipped because their gradients were not finite.
        losses: Losses of the kept epoch.
        diagnostics: Diagnostics of the kept epoch on validation data, by name; ``None`` if undefined, such as the
            identity score of constant data.
        units: Figures of every unit of the code on validation data by name, such as ``kl`` in nats; ``None`` without.

    Example:
        >>> stage = StageResult(
        ...     stage="00-plain", variant="plain", in_shape=(1, 8, 8), code_shape=(16,), epochs=20, kept_epoch=18,
        ...     steps=760, seconds=1.5, losses=StageLosses(9.7, 8.8, 8.8), diagnostics={"dead_units": 2.0},
        ... )
        >>> stage.losses.validation, stage.diagnostics.get("identity_score")
        (8.8, None)
    """

    stage: str
    variant: str
    in_shape: tuple[int, ...]
    code_shape: tuple[int, ...]
    epochs: int
    kept_epoch: int
    steps: int
    seconds: float
    skipped_steps: int = 0
    losses: StageLosses
    diagnostics: Mapping[str, float | None]
    units: Mapping[str, tuple[float, ...]] | None = absent()

    def __post_init__(self) -> None:
        check_name("stage", self.stage)
        check_range(self, "epochs", "kept_epoch", "steps", "skipped_steps")
        check_range(self, "in_shape", "code_shape", least=1)
