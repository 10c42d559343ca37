"""Train a classifier: the epoch with the best validation accuracy is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback
from torch import nn

from aepretrain.classifier import Classifier
from aepretrain.data.base import DataModule
from aepretrain.errors import ConfigError, DataError
from aepretrain.training.callbacks import WeightsArrived
from aepretrain.training.options import FineTuning
from aepretrain.training.stage import RunContext, StageRecord, train_stage


@dataclass(frozen=True)
class FineTuned:
    """What came out of fine-tuning.

    Args:
        classifier: The trained classifier, with the weights of the kept epoch.
        record: The record of the stage.
        weights_arrived: Whether the pretrained weights were seen in the classifier, bit for bit, before the first
            step; ``None`` where there were none to compare with.
    """

    classifier: Classifier
    record: StageRecord
    weights_arrived: bool | None

    def summary(self) -> dict[str, Any]:
        """Plain values for ``results.json``."""
        return {
            "weights_arrived": self.weights_arrived,
            "frozen_encoder": self.classifier.freeze_encoder,
            "epochs": self.record.epochs,
            "kept_epoch": self.record.kept_epoch,
            "steps": self.record.steps,
            "seconds": self.record.seconds,
            "skipped_steps": self.record.skipped_steps,
        }


def finetune(
    classifier: Classifier,
    data: DataModule,
    finetuning: FineTuning = FineTuning(),
    context: RunContext = RunContext(),
    *,
    pretrained: nn.Module | None = None,
    stage: str = "classifier",
) -> FineTuned:
    """Train a classifier on the labelled examples, and keep the epoch with the best validation accuracy.

    Args:
        classifier: Head and encoder; end to end, or the head alone where it froze its encoder.
        data: Gives labelled training and validation examples. The test examples are not touched.
        finetuning: Epochs (at least 1), batch size and patience.
        context: Seed, devices, precision, run directory and loggers.
        pretrained: The encoder that the classifier must hold before the first step, bit for bit.
        stage: Name of the stage.

    Raises:
        ConfigError: If there are no epochs, or ``pretrained`` is the classifier's own encoder.
        DataError: If the data have no labels.
        AEPretrainError: If the pretrained weights are not in the classifier.

    Example:
        >>> encoder = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Sigmoid()))
        >>> tuned = finetune(Classifier(encoder, 10), Digits(labels=100), FineTuning(2, 32), RunContext(progress=False))
        >>> tuned.record.epochs, tuned.record.steps
        (2, 8)
    """
    if pretrained is classifier.encoder:
        raise ConfigError("pretrained must be a copy, not the classifier's own encoder. Pass stack.encoder once more.")
    splits = data.splits(context.seed)
    if splits.train.y is None or splits.validation.y is None:
        raise DataError(f"{data.name} has no labels, so there is nothing to fine-tune on. Give the data labels.")
    arrival = None if pretrained is None else WeightsArrived(pretrained.state_dict())
    callbacks: Sequence[Callback] = [] if arrival is None else [arrival]
    record = train_stage(
        classifier,
        [splits.train.x, splits.train.y],
        [splits.validation.x, splits.validation.y],
        context,
        stage=stage,
        epochs=finetuning.epochs,
        batch_size=finetuning.batch_size,
        monitor="val/accuracy",
        mode="max",
        patience=finetuning.patience,
        validate_every=finetuning.validate_every,
        keep_best=True,
        callbacks=callbacks,
    )
    return FineTuned(classifier, record, None if arrival is None else arrival.arrived)
