"""Train a head on an encoder with labels; the epoch that is best on validation data is kept."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from aepretrain.data.base import DataModule
from aepretrain.data.lightning_data import AnyData, as_source
from aepretrain.data.rows import Inputs
from aepretrain.errors import ConfigError, DataError
from aepretrain.finetuning.arrival import check_arrival
from aepretrain.heads.base import Head
from aepretrain.results.classifier import ClassifierResult, Measurement
from aepretrain.results.regressor import RegressionMeasurement, RegressorResult
from aepretrain.results.stage import StageRecord
from aepretrain.training.context import RunContext
from aepretrain.training.options import FineTuning
from aepretrain.training.recovery.run_data import record_or_check_data
from aepretrain.training.stage import train_stage
from aepretrain.training.stock import TrainerFactory


@dataclass(frozen=True)
class FineTuned:
    """The trained head and the record of its training.

    Args:
        head: The trained head, with the weights of the kept epoch.
        record: The record of the stage.
        weights_arrived: Whether the head held the pretrained weights, bit for bit, before the first step; ``None``
            if none were given for comparison.
    """

    head: Head
    record: StageRecord
    weights_arrived: bool | None

    @property
    def score(self) -> tuple[float, float]:
        """The metrics that chose the kept epoch, larger is better: the monitored one, then the negative loss."""
        metrics, sign = self.record.metrics, {"min": -1.0, "max": 1.0}[self.head.mode]
        return sign * metrics[self.head.monitor], -metrics["val/loss"]

    def result(
        self, validation: Measurement | RegressionMeasurement, test: Measurement | RegressionMeasurement
    ) -> ClassifierResult | RegressorResult:
        """The result of fine-tuning, with the given measurements of the head."""
        kind: Any = ClassifierResult if self.head.predicts_classes else RegressorResult
        return kind(
            validation=validation,
            test=test,
            weights_arrived=self.weights_arrived,
            frozen_encoder=self.head.freeze_encoder,
            epochs=self.record.epochs,
            kept_epoch=self.record.kept_epoch,
            steps=self.record.steps,
            seconds=self.record.seconds,
            skipped_steps=self.record.skipped_steps,
        )


def finetune(
    head: Head,
    data: AnyData,
    finetuning: FineTuning = FineTuning(),
    context: RunContext = RunContext(),
    *,
    pretrained: nn.Module | None = None,
    stage: str | None = None,
    trainer: TrainerFactory | None = None,
) -> FineTuned:
    """Train a head on the labelled examples, and keep the best epoch by its ``monitor``.

    Training starts from the head's present weights: a second call goes on from those of the first.

    Args:
        head: Head and encoder, trained end to end; the head alone if its encoder is frozen.
        data: Source of labelled training and validation examples; test examples are not used. Or a
            LightningDataModule or DataLoaders, as for :meth:`~aepretrain.pretraining.stack.GreedyStack.fit`.
        finetuning: Epochs (at least 1), batch size and patience.
        context: Seed, devices, precision, run directory and loggers.
        pretrained: Encoder whose weights the head must hold before the first step, bit for bit.
        stage: Name of the stage; ``None``: that of the head.
        trainer: Returns a stock Lightning Trainer for the name of the stage, which replaces our own loop; of
            ``finetuning``, only the batch size is then used.

    Raises:
        ConfigError: If there are no epochs, or ``pretrained`` is the head's own encoder.
        DataError: If the data have no labels, or changed since the run was started.
        AEPretrainError: If the head does not hold the pretrained weights.

    Example:
        >>> encoder = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Sigmoid()))
        >>> tuned = finetune(Classifier(encoder, 10), Digits(labels=100), FineTuning(2, 32), RunContext(progress=False))
        >>> tuned.record.epochs, tuned.record.steps
        (2, 8)
    """
    if pretrained is head.encoder:
        raise ConfigError("pretrained must be a copy, not the head's own encoder. Pass stack.encoder once more.")
    data = as_source(data)
    record_or_check_data(context.out, data, resume=context.resume)
    train, validation = labelled(data, context)
    prepare_head(head, finetuning, train)
    check = None if pretrained is None else partial(check_arrival, pretrained=pretrained)
    settings = finetuning.stage_settings(stage or head.stage)
    record = train_stage(head, train, validation, settings, context, before_first_step=check, trainer=trainer)
    return FineTuned(head, record, None if pretrained is None else True)


def prepare_head(head: Head, finetuning: FineTuning, train: list[Inputs]) -> None:
    """Tell a head what chooses its epoch, and show it the training targets.

    Raises:
        ConfigError: If the head does not measure ``finetuning.monitor``.
    """
    choose_epoch(head, finetuning)
    head.fit_targets(train[1][:])


def choose_epoch(head: Head, finetuning: FineTuning) -> None:
    """Tell a head which figure chooses its epoch.

    Raises:
        ConfigError: If the head does not measure ``finetuning.monitor``.
    """
    if finetuning.monitor is not None:
        try:
            head.watch(finetuning.monitor)
        except ValueError as error:
            raise ConfigError(f"finetune.{error}") from error


def labelled(data: DataModule, context: RunContext) -> tuple[list[Inputs], list[Inputs]]:
    """Inputs and labels for training, and for validation."""
    splits = data.splits(context.seed)
    if splits.train.y is None or splits.validation.y is None:
        raise DataError(f"{data.name} has no labels, so there is nothing to fine-tune on. Give the data labels.")
    return [splits.train.x, splits.train.y], [splits.validation.x, splits.validation.y]
