"""Artifacts of a run: arrays of validation examples for the report, and pictures of each stage."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from aepretrain.data.examples import Examples
from aepretrain.data.rows import Inputs
from aepretrain.layers.base import Layer, StageModule
from aepretrain.parts.noise import Noise, derive_seed
from aepretrain.pretraining.generating import HasPrior
from aepretrain.report.drawing import attempt_picture
from aepretrain.report.epochs import AFTER_EPOCH
from aepretrain.report.pictures import draw_curves, draw_filters, draw_image_rows, write_picture
from aepretrain.report.windows import are_windows, draw_windows
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.stage import StageRecord
from aepretrain.storage.array_files import write_arrays
from aepretrain.storage.files import make_folder
from aepretrain.storage.guard import inside
from aepretrain.training.context import RunContext

EXAMPLES = 500
"""Number of validation examples whose codes are saved: enough to show clusters, few enough for t-SNE."""
PICTURES = 12
FILTERS = 96


@rank_zero_only
def save_inputs(validation: Examples, out: Path) -> None:
    """Write the first validation inputs, flattened, and their labels to ``stages/inputs.npz``.

    Args:
        validation: Inputs of shape ``(N, *in_shape)``, with or without labels.
        out: The run directory.
    """
    arrays = {"inputs": validation.x[:EXAMPLES].flatten(1).numpy()}
    if validation.y is not None:
        arrays["labels"] = validation.y[:EXAMPLES].numpy()
    folder = inside(out, "stages")
    make_folder(folder)
    write_arrays(folder / "inputs.npz", arrays)


@rank_zero_only
def save_curves(record: StageRecord, folder: Path) -> None:
    """Plot the learning curves of a stage and save them in its folder; if that fails, the run goes on."""
    _save_picture(folder / "curves.png", lambda: draw_curves(record.history, kept_epoch=record.kept_epoch))


def _save_picture(path: Path, draw: Callable[[], Figure]) -> None:
    attempt_picture(path, lambda: write_picture(path, draw()))


@rank_zero_only
@torch.no_grad()
def save_samples(
    context: RunContext, layer: Layer, record: StageRecord, x: Tensor, *, columns: Sequence[str] | None = None
) -> None:
    """Save the learning curves and codes of a stage; of layers on images or windows also reconstructions, and filters.

    Args:
        context: The run's context; without a run directory, nothing is written.
        layer: The trained layer.
        record: The record of its stage.
        x: Validation inputs of the layer, shape ``(N, *in_shape)``.
        columns: Names of the values of an example of the data; ``None``: they have none.
    """
    folder = context.stage_folder(record.stage)
    if folder is None:
        return
    save_curves(record, folder)
    arrays = {"codes": layer.encode(x[:EXAMPLES]).flatten(1).numpy()}
    if _is_seen(layer, record.stage, columns):
        arrays |= _generated(layer, context.seed, record.stage)
        noise = Noise(_generator(context.seed, record.stage, "pictures"))
        arrays |= _save_reconstructions(layer, x[:PICTURES], noise, folder / "reconstructions.png")
    filters = _filters(layer)
    if filters is not None:
        _save_picture(folder / "filters.png", lambda: draw_filters(filters))
        arrays |= {"filters": filters[:FILTERS], "units": np.array(len(filters))}
    write_arrays(folder / "samples.npz", arrays)


def _takes_pictures(layer: Layer) -> bool:
    return len(layer.in_shape) == 3 and layer.in_shape[0] in (1, 3)


def _is_seen(layer: Layer, stage: str, columns: Sequence[str] | None) -> bool:
    """Whether inputs of a layer can be looked at: pictures, or windows where they are the data."""
    is_lowest = stage.startswith("00-") or stage == UNROLLED
    return _takes_pictures(layer) or (is_lowest and are_windows(layer.in_shape, columns))


@rank_zero_only
@torch.no_grad()
def save_epoch(
    out: Path,
    seed: int,
    epochs: Sequence[int],
    columns: Sequence[str] | None,
    stage: str,
    layer: StageModule,
    data: Sequence[Inputs],
    epoch: int,
) -> None:
    """Save what a first layer on images or windows makes of examples, and of the same latents, after some epochs.

    Args:
        out: The run directory.
        seed: The run's seed, from which the latents are drawn.
        epochs: After how many epochs.
        columns: Names of the values of an example; ``None``: they have none.
        stage: The stage's name.
        layer: The layer in training; it is left in training mode.
        data: Its validation inputs.
        epoch: Number of finished epochs.
    """
    if epoch not in epochs or not stage.startswith("00-"):
        return
    if not isinstance(layer, Layer) or not _is_seen(layer, stage, columns):
        return
    x = data[0][:PICTURES].to(next(layer.parameters()))
    layer.eval()
    arrays = {"reconstructed": layer.reconstruct(x).float().cpu().numpy(), **_generated(layer, seed, stage)}
    layer.train()
    write_arrays(inside(out, "stages", stage) / AFTER_EPOCH.format(epoch), arrays)


def _generated(layer: Layer, seed: int, stage: str) -> dict[str, NDArray[np.float32]]:
    """What a layer with a prior makes of latents that are the same in every epoch; nothing of another layer."""
    if not isinstance(layer, HasPrior):
        return {}
    latents = torch.randn(PICTURES, *layer.code_shape, generator=_generator(seed, stage, "latents"))
    return {"generated": layer.decode(latents.to(next(layer.parameters()))).float().cpu().numpy()}


def _generator(seed: int, stage: str, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, stage, purpose))


def _save_reconstructions(layer: Layer, x: Tensor, noise: Noise, path: Path) -> dict[str, NDArray[np.float32]]:
    """Draw images or windows and their reconstructions, and return them; none if the layer cannot make them."""
    rows: dict[str, NDArray[np.float32]] = {}

    def draw() -> None:
        rows.update({name: examples.numpy() for name, examples in layer.pictures(x, noise).items()})
        write_picture(path, draw_image_rows(rows) if x.ndim == 4 else draw_windows(rows))

    attempt_picture(path, draw)
    return rows


def _filters(layer: Layer) -> NDArray[np.float32] | None:
    """The weights of the first weighted module, shape ``(H, C, height, width)``, or ``None`` if they are not images.

    Those of a convolution over windows have a row per channel.
    """
    weighted = next((module for module in layer.encoder.modules() if list(module.parameters(recurse=False))), None)
    if isinstance(weighted, nn.Conv1d) and weighted.groups == 1:
        return weighted.weight.unsqueeze(1).numpy()
    if not _takes_pictures(layer):
        return None
    if isinstance(weighted, nn.Conv2d) and weighted.groups == 1 and weighted.in_channels == layer.in_shape[0]:
        return weighted.weight.numpy()
    if not isinstance(weighted, nn.Linear) or weighted.in_features != torch.Size(layer.in_shape).numel():
        return None
    return weighted.weight.reshape(-1, *layer.in_shape).numpy()
