"""Many seeds of a comparison at once, pretrained or fine-tuned; they leave what one after another would leave."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from aepretrain.console import print_line
from aepretrain.ensembles.stages import finetune_ensemble, pretrain_stacks
from aepretrain.ensembles.train import Vectorize, why_apart
from aepretrain.errors import DivergedError
from aepretrain.export.encoder import load_encoder
from aepretrain.finetuning.finetune import FineTuned
from aepretrain.runs.artifacts import save_inputs, save_samples
from aepretrain.runs.experiment import Experiment, close_finetuning
from aepretrain.tracking.comparison import open_pretraining
from aepretrain.tracking.options import Tracking
from aepretrain.training.context import RunContext


def pretrain_together(
    experiments: Sequence[Experiment], folders: Sequence[Path], tracking: Tracking, vectorize: Vectorize
) -> bool:
    """Pretrain the stacks of experiments that differ in their seeds alone.

    Args:
        experiments: One per seed.
        folders: The run directory of each, which exists.
        tracking: Which loggers follow the comparison; they are handed the curves when all seeds are done.
        vectorize: Whether layers of all seeds are trained at once.

    Returns:
        Whether it was done. Not if a seed diverged: which one, and where, only training it alone tells. Not, if it is
        for the sake of speed, where no layer gains: seeds by themselves save where they stand.
    """
    first = experiments[0]
    stacks = [first.prepare()]
    contexts = [experiment.context(folder) for experiment, folder in zip(experiments, folders, strict=True)]
    named = zip(stacks[0].stages, list(stacks[0]), strict=True)
    reasons = [why_apart(layer, [], contexts[0], stage=stage, vectorize=vectorize) for stage, layer in named]
    if vectorize == "auto" and all(reasons):
        print_line(f"pretraining  one seed after another: {reasons[0]}")
        return False
    stacks += [experiment.prepare() for experiment in experiments[1:]]
    ends = [partial(save_samples, context) for context in contexts]
    for experiment, folder in zip(experiments, folders, strict=True):
        save_inputs(experiment.data.splits(experiment.seed).validation, folder)
    try:
        pretrain_stacks(stacks, first.data, first.pretrain, contexts, vectorize=vectorize, on_stage_ends=ends)
    except DivergedError as error:
        _say_apart(error)
        return False
    for experiment, stack, folder in zip(experiments, stacks, folders, strict=True):
        with open_pretraining(tracking, folder, experiment.seed) as run:
            results = experiment.close_pretraining(stack, folder)
            run.replay()
            run.log_outcome(results, encoder=folder / "encoder")
        results.write(folder / "results.json")
    return True


def why_finetuned_apart(experiments: Sequence[Experiment], stage: str, vectorize: Vectorize) -> str | None:
    """Why the classifiers of experiments are trained one after another; ``None`` if they are trained at once.

    Args:
        experiments: One per seed.
        stage: What they are called.
        vectorize: As for :func:`~aepretrain.ensembles.train.why_apart`.

    Raises:
        ConfigError: If it is ``on``, and not possible.
    """
    first = experiments[0]
    splits = [experiment.data.splits(experiment.seed) for experiment in experiments]
    x = [split.train.x for split in splits if isinstance(split.train.x, Tensor)]
    if len(x) < len(splits) or not isinstance(splits[0].validation.x, Tensor):
        return "their inputs are read from files"
    classifier = first.build_classifier(first.build_stack().encoder)
    context = RunContext(first.seed, first.trainer, callbacks=first.callbacks, on_nan=first.on_nan)
    return why_apart(classifier, x, context, stage=stage, vectorize=vectorize)


def starting_point(experiment: Experiment, saved: Path | None) -> tuple[nn.Module, nn.Module | None]:
    """The encoder that a classifier starts from, and the one it must hold before the first step.

    Args:
        experiment: Makes the encoder from random weights.
        saved: The folder of a pretrained encoder; ``None``: from random weights, and there is nothing to hold.
    """
    if saved is None:
        return experiment.build_stack().encoder, None
    pretrained = load_encoder(saved).layers
    return copy.deepcopy(pretrained), pretrained


def finetune_together(
    experiments: Sequence[Experiment], folders: Sequence[Path], encoders: Sequence[Path | None]
) -> list[FineTuned] | None:
    """Train the classifiers of experiments that differ in their seeds alone.

    Args:
        experiments: One per seed, for which :func:`why_finetuned_apart` finds no reason.
        folders: The run directory of each, which exists.
        encoders: The saved encoder that each starts from; ``None``: from random weights.

    Returns:
        What came out of each. ``None`` if a seed diverged: which one, and where, only training it alone tells.
    """
    contexts = [experiment.context(folder) for experiment, folder in zip(experiments, folders, strict=True)]
    starts = [starting_point(*each) for each in zip(experiments, encoders, strict=True)]
    classifiers = [each.build_classifier(encoder) for each, (encoder, _) in zip(experiments, starts, strict=True)]
    pretrained = [expected for _, expected in starts if expected is not None]
    first = experiments[0]
    try:
        tuned = finetune_ensemble(classifiers, first.data, first.finetune, contexts, pretrained=pretrained)
    except DivergedError as error:
        _say_apart(error)
        return None
    for each, context in zip(tuned, contexts, strict=True):
        close_finetuning(each, context)
    return tuned


def _say_apart(error: DivergedError) -> None:
    print_line(f"one seed after another, because with all at once one diverged: {error}")
