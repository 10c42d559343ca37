"""Arms that train all layers together to reconstruct the input, from pretrained or random weights."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from aepretrain.compare.arms import Arm
from aepretrain.compare.task import Task, Tested
from aepretrain.errors import ConfigError
from aepretrain.evaluation.pca import pca_errors
from aepretrain.evaluation.reconstruction import measure_reconstruction, measurement
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.pretraining.stage_results import CLOSING_EXAMPLES, closing_diagnostics, stage_result
from aepretrain.pretraining.unroll import unroll
from aepretrain.results.cell import reconstruction_scores
from aepretrain.results.findings import stage_findings
from aepretrain.results.metric import MetricName
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.row_errors import RowErrors
from aepretrain.results.stage import StageRecord, StageResult
from aepretrain.runs.experiment import Experiment
from aepretrain.runs.loading import load_layers
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage


@dataclass(frozen=True)
class Whole:
    """A stack whose layers were trained together.

    Args:
        stack: The stack.
        record: The record of the training.
        result: Its results.
    """

    stack: GreedyStack
    record: StageRecord
    result: StageResult

    @property
    def score(self) -> tuple[float, ...]:
        """The negative reconstruction loss on validation data."""
        return (-self.result.losses.reconstruction,)


class Reconstructing(Task):
    """Trains the unrolled stack, as ``pretrain.unroll`` does. The probe is the stack as its layers were pretrained."""

    metric: MetricName = "squared_error"
    may_batch_seeds = False
    rows = RowErrors

    def check(self, experiment: Experiment) -> None:
        if experiment.has_classifier:
            raise ConfigError(
                "the network under test has no head, but the control has. Set finetune.epochs to 0 in both or in none."
            )
        if not experiment.pretrain.unroll:
            raise ConfigError(
                "a comparison needs labels and finetune.epochs >= 1, or pretrain.unroll >= 1 to compare "
                "reconstructions. Use data with labels, or set pretrain.unroll."
            )
        for k in range(len(experiment.layers)):
            if not experiment.pretrain.of_layer(k, len(experiment.layers))[0]:
                raise ConfigError(
                    "pretrain.epochs must be >= 1 in a comparison, but got 0: the arm random begins without them. Set "
                    "the epochs of every layer."
                )

    def layers_alone(self, experiment: Experiment) -> Experiment:
        return replace(experiment, pretrain=replace(experiment.pretrain, unroll=0))

    def of_arm(self, experiment: Experiment, arm: Arm) -> Experiment:
        return experiment

    def settings(self, experiment: Experiment, arm: Arm) -> Mapping[str, Any]:
        if arm.frozen:
            return {"pretrain.unroll": 0}
        own = {"pretrain.unroll": experiment.pretrain.unroll}
        return own if arm.pretrained else {"pretrain.epochs": 0, **own}

    def lengthened(self, experiment: Experiment, times: int) -> Experiment:
        pretrain = experiment.pretrain
        return replace(experiment, pretrain=replace(pretrain, unroll=times * pretrain.unroll))

    def epochs(self, experiment: Experiment) -> int:
        return experiment.pretrain.unroll

    def steps(self, experiment: Experiment) -> int:
        examples = len(experiment.data.splits(experiment.seed).unlabelled)
        return experiment.pretrain.unroll * math.ceil(examples / _lengths(experiment).batch_size)

    def train(self, experiment: Experiment, arm: Arm, folder: Path, pretrained: Path | None, *, resume: bool) -> Whole:
        stack = experiment.build_stack()
        if pretrained is not None:
            load_layers(stack, pretrained)
        deep, settings = unroll(list(stack)), replace(_lengths(experiment), frozen=arm.frozen)
        splits, context = experiment.data.splits(experiment.seed), experiment.context(folder, resume=resume)
        record = train_stage(deep, [splits.unlabelled], [splits.validation.x], settings, context)
        examples = splits.validation.x[:CLOSING_EXAMPLES]
        closing = closing_diagnostics(deep, UNROLLED, experiment.seed, splits.unlabelled, examples)
        if not context.is_finished(UNROLLED):
            experiment.on_stage_end(context)(deep, record, examples)
            context.finish(UNROLLED)
        return Whole(stack, record, stage_result(deep, record, closing))

    def test(self, experiment: Experiment, trained: Whole) -> Tested:
        measured, record = measure_reconstruction(trained.stack, experiment.data, experiment.seed), trained.record
        findings = stage_findings(trained.result, record, may_scale=False) if record.epochs else []
        results = replace(
            experiment.empty_result(record),
            stages=(trained.result,),
            reconstruction=measured.result,
            warnings=tuple(findings),
        )
        lengths = {"epochs": record.epochs, "steps": record.steps, "seconds": record.seconds}
        scores = reconstruction_scores(measured.result.validation, measured.result.test)
        return Tested({**lengths, **scores}, measured.rows, results)

    def baseline(self, experiment: Experiment, name: str) -> Tested:
        begun, stack, splits = time.perf_counter(), experiment.build_stack(), experiment.data.splits(experiment.seed)
        components, likelihood = torch.Size(stack.code_shape).numel(), unroll(list(stack)).L
        held_out = [splits.validation.x, splits.test.x]
        validation, test = pca_errors(splits.unlabelled, held_out, components, likelihood)
        scores = reconstruction_scores(measurement(validation, validation), measurement(test, test))
        seconds, chosen = time.perf_counter() - begun, {"components": components}
        return Tested({**scores, "seconds": seconds, "hyperparameters": chosen}, test)


def _lengths(experiment: Experiment) -> StageSettings:
    return experiment.pretrain.unrolled_settings(UNROLLED, len(experiment.layers))
