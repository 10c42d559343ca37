"""The pretraining of many seeds of a comparison at once; it leaves what one after another would leave."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aepretrain.errors import DivergedError
from aepretrain.experiment import Experiment
from aepretrain.samples import save_inputs, save_samples
from aepretrain.stack import GreedyStack, fit_stacks
from aepretrain.tracking.comparison import open_pretraining
from aepretrain.tracking.json_files import write_json
from aepretrain.tracking.options import Tracking
from aepretrain.training.many_seeds import Vectorize, reason_apart, reason_slow
from aepretrain.training.options import Pretraining
from aepretrain.training.progress import say
from aepretrain.training.stage import RunContext


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
    if vectorize == "auto" and all(reasons := _reasons_apart(stacks[0], first.pretrain, contexts[0])):
        say(f"pretraining  one seed after another: {reasons[0]}")
        return False
    stacks += [experiment.prepare() for experiment in experiments[1:]]
    ends = [partial(save_samples, context) for context in contexts]
    for experiment, folder in zip(experiments, folders, strict=True):
        save_inputs(experiment.data.splits(experiment.seed).validation, folder)
    try:
        fit_stacks(stacks, first.data, first.pretrain, contexts, vectorize=vectorize, on_stage_ends=ends)
    except DivergedError as error:
        say(f"one seed after another, because with all at once one diverged: {error}")
        return False
    for experiment, stack, folder in zip(experiments, stacks, folders, strict=True):
        with open_pretraining(tracking, folder, experiment.seed) as run:
            results = experiment.close_pretraining(stack, folder)
            run.replay()
            run.log_outcome(results, encoder=folder / "encoder")
        write_json(folder / "results.json", results)
    return True


def _reasons_apart(stack: GreedyStack, pretraining: Pretraining, context: RunContext) -> list[str | None]:
    """Why each layer is better trained seed by seed; ``None`` for one that is not."""
    layers = stack.autoencoders
    patience = [pretraining.of_layer(k, len(layers))[2] for k in range(len(layers))]
    return [
        reason_apart(layer, context, own) or reason_slow(layer, (), context.trainer)
        for layer, own in zip(layers, patience, strict=True)
    ]
