"""Watch the loop of a test: what it does is called, and then the test's own function."""

from aepretrain.training import loop
from aepretrain.training.recovery.checkpoints import SavePoints


def before_chunks(monkeypatch, look):
    """Call ``look(state)`` between two chunks of steps, before the loop saves or stops."""
    save_or_stop = SavePoints.save_or_stop

    def watched(saves, state):
        look(state)
        save_or_stop(saves, state)

    monkeypatch.setattr(SavePoints, "save_or_stop", watched)


def before_updates(monkeypatch, look):
    """Call ``look(optimizer)`` when the gradients of a step are ready and clipped."""
    unscale_and_clip = loop.OptimizerStep.unscale_and_clip

    def watched(step):
        unscale_and_clip(step)
        look(step.optimizer)

    monkeypatch.setattr(loop.OptimizerStep, "unscale_and_clip", watched)


def batches_of(monkeypatch):
    """The batches that are trained on from now on, in their order, in a list that grows."""
    seen, take_step = [], loop.OptimizerStep.__call__

    def watched(step, batch, *place):
        seen.append([tensor.clone() for tensor in batch])
        return take_step(step, batch, *place)

    monkeypatch.setattr(loop.OptimizerStep, "__call__", watched)
    return seen
