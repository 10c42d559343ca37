"""Stages of many seeds: greedy pretraining layer by layer, and fine-tuning of the classifiers."""

from collections.abc import Sequence

from torch import Tensor, nn

from aepretrain.console import print_line
from aepretrain.data.base import DataModule
from aepretrain.data.rows import Inputs
from aepretrain.ensembles.train import Vectorize, reason_not_batched, train_ensemble
from aepretrain.finetuning.finetune import FineTuned, labelled, prepare_head
from aepretrain.heads.classification import Classifier
from aepretrain.pretraining.stack import GreedyStack, GreedyTraining, StageEnd
from aepretrain.results.stage import StageRecord
from aepretrain.training.context import RunContext
from aepretrain.training.options import FineTuning, Pretraining
from aepretrain.training.stage import train_stage


def pretrain_stacks(
    stacks: Sequence[GreedyStack],
    data: DataModule | Sequence[DataModule],
    pretraining: Pretraining,
    contexts: Sequence[RunContext],
    *,
    vectorize: Vectorize = "off",
    on_stage_ends: Sequence[StageEnd] = (),
) -> None:
    """Pretrain stacks of one architecture, one per seed, layer by layer, as :meth:`GreedyStack.fit` does for one.

    Args:
        stacks: The stacks, which differ only in their weights.
        data: As for :meth:`GreedyStack.fit`; one data set for all stacks, or one for each.
        pretraining: As for :meth:`GreedyStack.fit`.
        contexts: One per stack; they differ in seed, directory and loggers.
        vectorize: Whether to train a layer of all stacks at once: where possible and faster (``auto``), always unless
            inputs are read from files (``on``), or never (``off``).
        on_stage_ends: One callback per stack, as for :meth:`GreedyStack.fit`; or none.

    Raises:
        DataError: If the inputs do not fit the stacks or the first layer.
        ConfigError: If a setting is out of range, or ``vectorize`` is ``on`` and a layer cannot be batched.
    """
    ends: Sequence[StageEnd | None] = on_stage_ends or [None] * len(stacks)
    trainings = [
        GreedyTraining(stack, own, pretraining, context, on_stage_end=end)
        for stack, own, context, end in zip(stacks, _each(data, stacks), contexts, ends, strict=True)
    ]
    for k in range(len(stacks[0].layers)):
        for training, record in zip(trainings, _train_layer(trainings, k, vectorize), strict=True):
            training.close(k, record, note=_note(training, trainings))
    for training in trainings:
        training.finish(note=_note(training, trainings))


def _note(training: GreedyTraining, trainings: Sequence[GreedyTraining]) -> str:
    return f"  seed {training.context.seed}" if len(trainings) > 1 else ""


def _train_layer(trainings: Sequence[GreedyTraining], k: int, vectorize: Vectorize) -> list[StageRecord]:
    """Train the same layer of all stacks, at once if requested and possible, else one after another."""
    layers, inputs = [list(training.stack)[k] for training in trainings], [training.inputs(k) for training in trainings]
    contexts, settings = [training.context for training in trainings], trainings[0].settings[k]
    if len(layers) > 1 and vectorize != "off":
        train, validation = ([_tensors(own[part]) for own in inputs] for part in (0, 1))
        if all(train) and all(validation):
            pools = [own[0] for own in train]
            reason = reason_not_batched(layers[0], pools, contexts[0], stage=settings.name, vectorize=vectorize)
        else:
            reason = "their inputs are read from files"
        if reason is None:
            return train_ensemble(layers, train, validation, settings, contexts)
        print_line(f"{settings.name}  {len(layers)} seeds one after another: {reason}")
    return [
        train_stage(layer, *own, settings, context)
        for layer, own, context in zip(layers, inputs, contexts, strict=True)
    ]


def _tensors(inputs: Sequence[Inputs]) -> list[Tensor]:
    return [each for each in inputs if isinstance(each, Tensor)]


def _each(data: DataModule | Sequence[DataModule], seeds: Sequence[object]) -> Sequence[DataModule]:
    return [data] * len(seeds) if isinstance(data, DataModule) else data


def finetune_ensemble(
    classifiers: Sequence[Classifier],
    data: DataModule | Sequence[DataModule],
    finetuning: FineTuning,
    contexts: Sequence[RunContext],
    *,
    pretrained: Sequence[nn.Module] = (),
    stage: str = "classifier",
) -> list[FineTuned]:
    """Fine-tune the classifiers of many seeds at once, with the results of ``finetune`` per seed up to rounding.

    Args:
        classifiers: One per seed; they differ only in their weights. ``reason_impossible`` must return ``None``.
        data: As for ``finetune``; one data set for all, or one for each. Inputs in files are read into memory.
        finetuning: As for ``finetune``. Each seed has its own best epoch and its own patience.
        contexts: One per seed; they differ in seed, directory and loggers.
        pretrained: Per seed, the encoder that the classifier must hold bit for bit before the first step; or none.
        stage: Name of the stage.

    Raises:
        DataError: If the data have no labels.
        DivergedError: If a metric of any seed is not finite.
        AEPretrainError: If the pretrained weights are not in the batched model.
    """
    splits = [labelled(own, context) for own, context in zip(_each(data, contexts), contexts, strict=True)]
    for classifier, (examples, _) in zip(classifiers, splits, strict=True):
        prepare_head(classifier, finetuning, examples)
    train, validation = (
        [[x if isinstance(x, Tensor) else x[:] for x in own[part]] for own in splits] for part in (0, 1)
    )
    settings = finetuning.stage_settings(stage)
    records = train_ensemble(classifiers, train, validation, settings, contexts, pretrained=pretrained)
    arrived = True if pretrained else None
    return [FineTuned(head, record, arrived) for head, record in zip(classifiers, records, strict=True)]
