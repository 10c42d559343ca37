"""The trained layers and the head of a run, from its directory."""

from pathlib import Path

from aepretrain.errors import StorageError
from aepretrain.heads import Head
from aepretrain.layers.base import StageModule
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.pretraining.unroll import unroll
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.runs.experiment import Experiment
from aepretrain.storage.weight_files import read_weights
from aepretrain.training.recovery.stage_files import StageFiles


def load_layers(stack: GreedyStack, run: Path) -> None:
    """Give the layers of a stack the weights of a run: those of the whole, if all layers were trained together there.

    Raises:
        StorageError: If the weights of a layer are missing, damaged, or those of another layer.
    """
    stages: dict[str, StageModule] = dict(zip(stack.stages, stack, strict=True))
    if (run / "stages" / UNROLLED).exists():
        stages[UNROLLED] = unroll(list(stack))
    for stage, module in stages.items():
        try:
            StageFiles(run, stage).read(module)
        except ValueError as error:
            raise StorageError(f"{run}: the weights of {stage} do not fit the config: {error}") from error
    stack.eval()


def load_head(experiment: Experiment, run: Path) -> Head:
    """Load the head of a finished run from its files.

    Raises:
        StorageError: If its weights are missing or damaged.
    """
    classifier = experiment.build_classifier(experiment.build_stack().encoder)
    path = run / "stages" / classifier.stage / "model.safetensors"
    if not path.is_file():
        raise StorageError(f"{path} is missing: the run has no {classifier.stage}, or did not finish. Run fit again.")
    read_weights(path, classifier)
    return classifier.eval()
