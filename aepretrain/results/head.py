"""The result of fine-tuning a head, whatever it measures."""

from dataclasses import dataclass
from typing import Any

from aepretrain.results.records import check_range

HEADS = ("classifier", "regressor")
"""Names of the stages that train a head."""


@dataclass(frozen=True)
class HeadResult:
    """The result of fine-tuning; a subclass says what is measured.

    Args:
        validation: Metrics of the kept epoch on validation data, on which it was chosen.
        test: Metrics of the kept epoch on test data, evaluated once.
        weights_arrived: Whether the head held the pretrained weights, bit for bit, before the first step; ``None`` if
            there were none to compare with.
        frozen_encoder: Whether only the head was trained.
        epochs: Epochs trained.
        kept_epoch: The epoch, counted from 0, whose weights were kept.
        steps: Optimizer steps.
        seconds: Wall-clock time of the whole stage.
        skipped_steps: Updates skipped because their gradients were not finite.
    """

    validation: Any
    test: Any
    weights_arrived: bool | None
    frozen_encoder: bool
    epochs: int
    kept_epoch: int
    steps: int
    seconds: float
    skipped_steps: int = 0

    def __post_init__(self) -> None:
        check_range(self, "epochs", "kept_epoch", "steps", "skipped_steps")
