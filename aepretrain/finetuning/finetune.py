"""Train a classifier: the epoch with the best validation accuracy is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback
from torch import Tensor, nn

from aepretrain.data.base import DataModule
from aepretrain.data.rows import Inputs
from aepretrain.ensembles.train import train_seeds
from aepretrain.errors import ConfigError, DataError
from aepretrain.heads.classification import Classifier
from aepretrain.results.classifier import ClassifierResult, Measurement
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

    def result(self, validation: Measurement, test: Measurement) -> ClassifierResult:
        """What fine-tuning found, with what the classifier was measured to be."""
        return ClassifierResult(
            validation=validation,
            test=test,
            weights_arrived=self.weights_arrived,
            frozen_encoder=self.classifier.freeze_encoder,
            epochs=self.record.epochs,
            kept_epoch=self.record.kept_epoch,
            steps=self.record.steps,
            seconds=self.record.seconds,
            skipped_steps=self.record.skipped_steps,
        )


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
    train, validation = _labelled(data, context)
    arrival = None if pretrained is None else WeightsArrived(pretrained.state_dict())
    callbacks: Sequence[Callback] = [] if arrival is None else [arrival]
    settings = _settings(finetuning, stage)
    record = train_stage(classifier, train, validation, context, **settings, callbacks=callbacks)
    return FineTuned(classifier, record, None if arrival is None else arrival.arrived)


def finetune_seeds(
    classifiers: Sequence[Classifier],
    data: DataModule,
    finetuning: FineTuning,
    contexts: Sequence[RunContext],
    *,
    pretrained: Sequence[nn.Module] = (),
    stage: str = "classifier",
) -> list[FineTuned]:
    """Train the classifiers of many seeds at once, equal within rounding to :func:`finetune` for one after another.

    Args:
        classifiers: One per seed; they differ in their weights alone, and ``reason_apart`` finds no reason for them.
        data: As for one; the inputs lie in memory.
        finetuning: As for one. Each seed keeps its own best epoch, and patience stops each by itself.
        contexts: One per seed; they differ in seed, directory and loggers.
        pretrained: The encoder that each classifier must hold before the first step, bit for bit; or none.
        stage: Name of the stage.

    Raises:
        DataError: If the data have no labels.
        DivergedError: If a loss of any seed is not finite.
        AEPretrainError: If the pretrained weights are not in the batched model.
    """
    splits = [_labelled(data, context) for context in contexts]
    train, validation = ([_in_memory(split[part]) for split in splits] for part in (0, 1))
    arrivals = [WeightsArrived(encoder.state_dict()) for encoder in pretrained]
    records = train_seeds(classifiers, train, validation, contexts, **_settings(finetuning, stage), arrivals=arrivals)
    arrived: Sequence[bool | None] = [arrival.arrived for arrival in arrivals] or [None] * len(records)
    return [FineTuned(*each) for each in zip(classifiers, records, arrived, strict=True)]


def _labelled(data: DataModule, context: RunContext) -> tuple[list[Inputs], list[Inputs]]:
    """Inputs and labels for training, and those for validation."""
    splits = data.splits(context.seed)
    if splits.train.y is None or splits.validation.y is None:
        raise DataError(f"{data.name} has no labels, so there is nothing to fine-tune on. Give the data labels.")
    return [splits.train.x, splits.train.y], [splits.validation.x, splits.validation.y]


def _in_memory(inputs: Sequence[Inputs]) -> list[Tensor]:
    return [each if isinstance(each, Tensor) else each[:] for each in inputs]


def _settings(finetuning: FineTuning, stage: str) -> dict[str, Any]:
    return {
        "stage": stage,
        "epochs": finetuning.epochs,
        "batch_size": finetuning.batch_size,
        "monitor": "val/accuracy",
        "mode": "max",
        "patience": finetuning.patience,
        "validate_every": finetuning.validate_every,
        "keep_best": True,
    }
