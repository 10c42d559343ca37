"""What is measured when a stage closes, and its results."""

import torch
from torch import Tensor

from aepretrain.data.rows import Inputs
from aepretrain.layers.base import Layer
from aepretrain.layers.diagnostics import StageDiagnostics, diagnose
from aepretrain.parts.noise import derive_seed
from aepretrain.results.stage import StageLosses, StageRecord, StageResult
from aepretrain.storage.json_files import finite

CLOSING_EXAMPLES = 1000
"""Number of validation examples that a layer is diagnosed on, at most."""


def closing_diagnostics(layer: Layer, stage: str, seed: int, train: Inputs, examples: Tensor) -> StageDiagnostics:
    """Diagnose a trained layer.

    Args:
        layer: The layer.
        stage: Name of its stage.
        seed: The seed of the run.
        train: Examples that it was trained on, shape ``(N, *in_shape)``.
        examples: Validation examples, shape ``(M, *in_shape)``.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, stage, "identity"))
    seen = train[:CLOSING_EXAMPLES].cpu() if layer.compares_examples else None
    return diagnose(layer, examples, generator, train=seen)


def stage_result(layer: Layer, record: StageRecord, closing: StageDiagnostics) -> StageResult:
    """The results of a stage.

    Args:
        layer: What it trained.
        record: The record of its training.
        closing: What was measured at its end.
    """
    return StageResult(
        stage=record.stage,
        variant=layer.variant(),
        in_shape=tuple(layer.in_shape),
        code_shape=tuple(layer.code_shape),
        epochs=record.epochs,
        kept_epoch=record.kept_epoch,
        steps=record.steps,
        seconds=record.seconds,
        skipped_steps=record.skipped_steps,
        losses=StageLosses(
            train=record.metrics.get("train/loss"),
            validation=record.metrics["val/loss"],
            reconstruction=record.metrics["val/reconstruction"],
        ),
        diagnostics=finite({**_validation_diagnostics(record.metrics), **closing.scalars}),
        units=closing.units or None,
    )


def _validation_diagnostics(metrics: dict[str, float]) -> dict[str, float]:
    losses = ("val/loss", "val/reconstruction")
    return {
        name.removeprefix("val/"): value
        for name, value in metrics.items()
        if name.startswith("val/") and name not in losses
    }
