"""Arms that train a head with labels: accuracy of classes, R² of a real target."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aepretrain.compare.arms import Arm
from aepretrain.compare.ensembles import starting_point
from aepretrain.compare.task import Task, Tested
from aepretrain.errors import ConfigError
from aepretrain.evaluation.baselines import measure_baseline
from aepretrain.finetuning.finetune import FineTuned
from aepretrain.results.cell import scores_of
from aepretrain.results.metric import MetricName
from aepretrain.results.predictions import Predictions
from aepretrain.runs.experiment import Experiment
from aepretrain.runs.measuring import measure, with_head


class Supervised(Task):
    """Trains the head on the encoder, as :meth:`Experiment.train_classifier` does."""

    may_batch_seeds = True

    def check(self, experiment: Experiment) -> None:
        if not experiment.has_classifier:
            raise ConfigError("a comparison needs labels and finetune.epochs >= 1. Use data with labels.")

    def how_to_repeat(self, arm: Arm) -> str:
        return "fit trains it again" if arm.pretrained else "fit would pretrain it, which this arm was not"

    def of_arm(self, experiment: Experiment, arm: Arm) -> Experiment:
        return replace(experiment, classifier=_frozen(experiment.head_factory)) if arm.frozen else experiment

    def settings(self, experiment: Experiment, arm: Arm) -> Mapping[str, Any]:
        return {"classifier.freeze_encoder": True} if arm.frozen else {}

    def lengthened(self, experiment: Experiment, times: int) -> Experiment:
        # The same number of validations, so that selection has no advantage.
        finetune = experiment.finetune
        every = times * finetune.validate_every
        return replace(experiment, finetune=replace(finetune, epochs=times * finetune.epochs, validate_every=every))

    def epochs(self, experiment: Experiment) -> int:
        return experiment.finetune.epochs

    def steps(self, experiment: Experiment) -> int:
        examples = len(experiment.data.splits(experiment.seed).train)
        return experiment.finetune.epochs * math.ceil(examples / experiment.finetune.batch_size)

    def train(
        self, experiment: Experiment, arm: Arm, folder: Path, pretrained: Path | None, *, resume: bool
    ) -> FineTuned:
        encoder, expected = starting_point(experiment, pretrained and pretrained / "encoder")
        return experiment.train_classifier(encoder, folder, pretrained=expected, resume=resume)

    def test(self, experiment: Experiment, trained: FineTuned) -> Tested:
        measured = measure(trained.head, experiment.data, experiment.seed)
        results, _ = with_head(experiment.empty_result(trained.record), trained, measured, experiment.data.class_names)
        found = results.head
        assert found is not None
        lengths = {"epochs": found.epochs, "steps": found.steps, "seconds": found.seconds}
        return Tested({**lengths, **scores_of(found)}, measured.predictions, results)

    def baseline(self, experiment: Experiment, name: str) -> Tested:
        measured = measure_baseline(name, experiment.data.splits(experiment.seed))
        return Tested(measured.row, measured.predictions)


class Classifying(Supervised):
    """Classes: the error of an accuracy follows from the number of test examples."""

    metric: MetricName = "accuracy"
    rows = None


class Regressing(Supervised):
    """A real target."""

    metric: MetricName = "r2"
    rows = Predictions


def _frozen(make: Any) -> Any:
    return lambda encoder, outputs: make(encoder, outputs, freeze_encoder=True)
