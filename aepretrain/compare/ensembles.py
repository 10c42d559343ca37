"""Pretraining and fine-tuning of many seeds of a comparison at once, with the same files as one by one."""

import copy
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from aepretrain.console import print_line
from aepretrain.ensembles.stages import finetune_ensemble, pretrain_stacks
from aepretrain.ensembles.train import Vectorize, reason_not_batched
from aepretrain.errors import DivergedError
from aepretrain.export.encoder import load_encoder
from aepretrain.finetuning.finetune import FineTuned
from aepretrain.heads import Classifier
from aepretrain.runs.artifacts import save_inputs
from aepretrain.runs.experiment import Experiment, close_finetuning
from aepretrain.tracking.comparison import open_pretraining
from aepretrain.tracking.options import Tracking
from aepretrain.training.context import RunContext


def pretrain_seeds(
    experiments: Sequence[Experiment], folders: Sequence[Path], tracking: Tracking, vectorize: Vectorize
) -> bool:
    """Pretrain the stacks of experiments that differ only in their seeds.

    Args:
        experiments: One per seed.
        folders: The existing run directory of each.
        tracking: The loggers of the comparison; they receive the curves when all seeds are done.
        vectorize: Whether layers of all seeds are trained at once.

    Returns:
        Whether the stacks were pretrained. ``False`` if a seed diverged, since only training seeds alone shows which
        seed and where. ``False`` also if ``vectorize`` is ``auto`` and no layer becomes faster, since seeds trained
        alone save checkpoints.
    """
    first = experiments[0]
    stacks = [first.prepare()]
    contexts = [experiment.context(folder) for experiment, folder in zip(experiments, folders, strict=True)]
    named = zip(stacks[0].stages, list(stacks[0]), strict=True)
    reasons = [reason_not_batched(layer, [], contexts[0], stage=stage, vectorize=vectorize) for stage, layer in named]
    if vectorize == "auto" and all(reasons):
        print_line(f"pretraining  one seed after another: {reasons[0]}")
        return False
    stacks += [experiment.prepare() for experiment in experiments[1:]]
    ends = [experiment.on_stage_end(context) for experiment, context in zip(experiments, contexts, strict=True)]
    for experiment, folder in zip(experiments, folders, strict=True):
        save_inputs(experiment.data.splits(experiment.seed).validation, folder)
    try:
        data = [experiment.data for experiment in experiments]
        pretrain_stacks(stacks, data, first.pretrain, contexts, vectorize=vectorize, on_stage_ends=ends)
    except DivergedError as error:
        _report_divergence(error)
        return False
    for experiment, stack, folder in zip(experiments, stacks, folders, strict=True):
        with open_pretraining(tracking, folder, experiment.seed) as run:
            results = experiment.close_pretraining(stack, folder)
            run.replay()
            run.log_outcome(results, encoder=folder / "encoder")
        results.write(folder / "results.json")
    return True


def reason_finetuning_not_batched(experiments: Sequence[Experiment], stage: str, vectorize: Vectorize) -> str | None:
    """The reason to train the classifiers of experiments one by one; ``None`` if they can be trained at once.

    Args:
        experiments: One per seed.
        stage: Name of the classifiers, for messages.
        vectorize: As for :func:`~aepretrain.ensembles.train.reason_not_batched`.

    Raises:
        ConfigError: If ``vectorize`` is ``on``, and the classifiers cannot be trained at once.
    """
    first = experiments[0]
    splits = [experiment.data.splits(experiment.seed) for experiment in experiments]
    x = [split.train.x for split in splits if isinstance(split.train.x, Tensor)]
    if len(x) < len(splits) or not isinstance(splits[0].validation.x, Tensor):
        return "their inputs are read from files"
    classifier = first.build_classifier(first.build_stack().encoder)
    context = RunContext(first.seed, first.trainer, callbacks=first.callbacks, on_nan=first.on_nan)
    return reason_not_batched(classifier, x, context, stage=stage, vectorize=vectorize)


def starting_point(experiment: Experiment, saved: Path | None) -> tuple[nn.Module, nn.Module | None]:
    """The initial encoder of a classifier, and the pretrained encoder it must equal before the first step.

    Args:
        experiment: Builds the encoder with random weights.
        saved: The folder of a pretrained encoder; ``None``: random weights, and no encoder to compare with.
    """
    if saved is None:
        return experiment.build_stack().encoder, None
    pretrained = load_encoder(saved).layers
    return copy.deepcopy(pretrained), pretrained


def finetune_seeds(
    experiments: Sequence[Experiment], folders: Sequence[Path], encoders: Sequence[Path | None]
) -> list[FineTuned] | None:
    """Train the classifiers of experiments that differ only in their seeds.

    Args:
        experiments: One per seed, for which :func:`reason_finetuning_not_batched` returns ``None``.
        folders: The existing run directory of each.
        encoders: The saved encoder that each starts from; ``None``: random weights.

    Returns:
        The result of each. ``None`` if a seed diverged, since only training seeds alone shows which seed and where.
    """
    contexts = [experiment.context(folder) for experiment, folder in zip(experiments, folders, strict=True)]
    starts = [starting_point(*each) for each in zip(experiments, encoders, strict=True)]
    heads = [each.build_classifier(encoder) for each, (encoder, _) in zip(experiments, starts, strict=True)]
    classifiers = [head for head in heads if isinstance(head, Classifier)]
    assert len(classifiers) == len(heads)
    pretrained = [expected for _, expected in starts if expected is not None]
    first = experiments[0]
    try:
        data = [experiment.data for experiment in experiments]
        tuned = finetune_ensemble(classifiers, data, first.finetune, contexts, pretrained=pretrained)
    except DivergedError as error:
        _report_divergence(error)
        return None
    for each, context in zip(tuned, contexts, strict=True):
        close_finetuning(each, context)
    return tuned


def _report_divergence(error: DivergedError) -> None:
    print_line(f"one seed after another, because with all at once one diverged: {error}")
