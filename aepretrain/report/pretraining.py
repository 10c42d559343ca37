"""Report sections on pretraining: stages, curves, filters, reconstructions, units, two dimensions."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from aepretrain.report.charts import SMALL, count_epochs, new_chart
from aepretrain.report.colours import PLACEHOLDERS, Colours
from aepretrain.report.drawing import draw_or_explain
from aepretrain.report.epochs import epoch_pictures
from aepretrain.report.inline import inline_png, inline_svg
from aepretrain.report.markup import join
from aepretrain.report.mosaic import COARSE, as_pictures, mosaic
from aepretrain.report.page import figure, missing, paragraph, row, section, table
from aepretrain.report.patterns import pattern_codes
from aepretrain.report.reconstructions import reconstructions, whole_section
from aepretrain.report.run_files import Curve, read_curves, read_results
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.report.two_dimensions import begin_embeddings, embeddings
from aepretrain.results import figures
from aepretrain.results.head import HEADS
from aepretrain.results.run import RunResult
from aepretrain.results.stage import StageResult
from aepretrain.storage.array_files import read_arrays

LOSSES = {"train/loss": "training loss", "val/loss": "validation loss", "val/reconstruction": "reconstruction"}
FILTER_COLUMNS = 16
FREE_ENERGY = (
    " The loss of a Boltzmann machine is a difference of free energies, whose value says nothing about progress. Its "
    "free energy is -log p(x) - log Z; that of validation rows exceeds that of training rows by the gap, 0 without "
    "overfitting."
)
NO_BREAK = "\u00a0"


def pretraining_sections(folder: Path, neighbours: NeighbourEmbeddings | None = None) -> list[Markup]:
    """Build the report sections on the pretraining of a run from its files.

    Args:
        folder: Run directory, finished or not.
        neighbours: t-SNE of its codes, if it was loaded or has begun already.
    """
    results = read_results(folder)
    stages = () if results is None else results.stages
    curves = {name: found for name, found in read_curves(folder / "metrics.jsonl").items() if name not in HEADS}
    kept = {stage.stage: stage.kept_epoch for stage in stages}
    with neighbours or NeighbourEmbeddings() as neighbours:
        begin_embeddings(folder, neighbours)  # while the others are drawn
        return [
            section("Stages", stage_table(stages)),
            section("Learning curves of pretraining", stage_curves(curves, kept)),
            *_patterns(results),
            section("Layer 1: filters", _with_samples(folder, "the filters of layer 1", filters)),
            section(
                "Layer 1: reconstructions", _with_samples(folder, "the reconstructions of layer 1", reconstructions)
            ),
            *epoch_pictures(folder),
            *whole_section(folder, results),
            section("How the codes use their units", draw_or_explain("the use of the units", lambda: units(stages))),
            section("Inputs and codes in two dimensions", *embeddings(folder, neighbours)),
        ]


def _patterns(results: RunResult | None) -> list[Markup]:
    """The section on the codes of one-hot patterns, if they are the data."""
    if results is None or not (patterns := results.patterns):
        return []
    return [section("The code of every pattern", draw_or_explain("the codes", lambda: pattern_codes(patterns)))]


def stage_table(stages: Sequence[StageResult]) -> Markup:
    """Table with a row per stage: shapes, duration, losses, and diagnostics on validation data."""
    if not stages:
        return missing("The run has not finished: results.json, which holds these figures, is not there yet.")
    names, rows = figures.stage_table(stages, tuple(figures.STAGE_FIGURES))
    shapes = (
        f"{figures.shape(stage.in_shape)}{NO_BREAK}→{NO_BREAK}{figures.shape(stage.code_shape)}" for stage in stages
    )
    cells = [[stage.stage, shape, *row] for stage, shape, row in zip(stages, shapes, rows, strict=True)]
    return table(["stage", "shape", *names], cells, words=2) + paragraph(
        "Training loss, validation loss and reconstruction are in nats per example, summed over features; "
        "reconstruction is without noise or penalty, and stands beside the loss of the mean of the features. All "
        "figures but the training loss are of validation data and of the kept epoch; epochs are counted from 0. "
        "Identity: the share of off-data noise that comes back; 1 is a layer that copies anything."
        f"{FREE_ENERGY if any('free_energy' in stage.diagnostics for stage in stages) else ''}"
    )


def stage_curves(curves: Mapping[str, Mapping[str, Curve]], kept: Mapping[str, int]) -> Markup:
    """Charts of the losses over epochs, one per stage.

    Args:
        curves: Values by stage, name and epoch.
        kept: Epoch, counted from 0, whose weights were kept, by stage; absent if unknown.
    """
    shown = {stage: {name: c for name, c in found.items() if name in LOSSES} for stage, found in curves.items()}
    if not any(shown.values()):
        return missing("There are no curves: metrics.jsonl is empty or missing.")
    return row(_stage_curve(stage, found, kept.get(stage)) for stage, found in shown.items() if found)


def _stage_curve(stage: str, curves: Mapping[str, Curve], kept: int | None) -> Markup:
    def draw() -> Markup:
        chart = draw_losses(curves, PLACEHOLDERS, kept_epoch=kept)
        svg = inline_svg(chart, f"curves-{stage}", f"Losses of stage {stage} over its epochs")
        return figure(svg, stage, _curve_caption(curves, kept))

    return draw_or_explain(f"the learning curves of {stage}", draw)


def draw_losses(curves: Mapping[str, Curve], colours: Colours, *, kept_epoch: int | None = None) -> Figure:
    """Plot losses over epochs, with a legend below.

    Args:
        curves: Values by name, as in ``metrics.jsonl``, and epoch.
        colours: Colour scheme of the chart.
        kept_epoch: Epoch, counted from 0, whose weights were kept; it is marked if there are several epochs.

    Example:
        >>> from aepretrain.report.colours import LIGHT
        >>> draw_losses({"train/loss": {0: 2.0, 1: 1.5}, "val/loss": {1: 1.0}}, LIGHT).axes[0].lines[1].get_xdata()
        array([1])
    """
    chart, axes = new_chart(4.4, 2.9, colours)
    order = [name for name in LOSSES if name in curves]
    for name, colour, style in zip(order, (colours.muted, *colours.series), ("-", "-", "--"), strict=False):
        values = curves[name]
        marker = "o" if len(values) == 1 else None
        axes.plot(list(values), list(values.values()), style, color=colour, marker=marker, label=LOSSES[name])
    if kept_epoch is not None and len(curves[order[0]]) > 1:
        axes.axvline(kept_epoch, color=colours.muted, linewidth=0.8, linestyle=":")
    count_epochs(axes, "epoch")
    axes.set_ylabel("nats per example")
    chart.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL, labelcolor=colours.ink)
    return chart


def _curve_caption(curves: Mapping[str, Curve], kept: int | None) -> str:
    name = "val/reconstruction" if "val/reconstruction" in curves else next(iter(curves))
    values = list(curves[name].values())
    if len(values) == 1:
        return f"{LOSSES[name].capitalize()} is {values[0]:.3g} nats after one epoch."
    words = f"{LOSSES[name].capitalize()} goes from {values[0]:.3g} to {values[-1]:.3g} nats in {len(values)} epochs."
    return words + ("" if kept is None else f" The weights of epoch {kept}, counted from 0, were kept (dotted line).")


def _with_samples(folder: Path, what: str, draw: Callable[[Mapping[str, np.ndarray]], Markup]) -> Markup:
    """Apply a function to the arrays of the first stage; if there are none, give the reason."""
    paths = sorted(folder.glob("stages/00-*/samples.npz"))
    if not paths:
        return missing("No arrays of the first stage were kept: the run has not come that far, or is an older one.")
    arrays = read_arrays(paths[0])
    return draw_or_explain(what, lambda: draw(arrays))


def filters(arrays: Mapping[str, np.ndarray]) -> Markup:
    """Figure of the weights into each unit of the first layer, or of the kernels of its convolution."""
    if "filters" not in arrays:
        return missing("The first layer is neither dense on images nor a convolution, so its weights are no pictures.")
    weights = arrays["filters"]
    image = mosaic(as_pictures(weights), FILTER_COLUMNS)
    coarse = weights.shape[-1] < COARSE
    over_windows = "A row is a channel, a column a step of a window. Look for waves, steps and slopes"
    is_picture = "original" in arrays and arrays["original"].ndim == 4
    shapes = "Look for strokes and edges" if is_picture else over_windows
    count = (
        f"the first {len(weights)} of {arrays['units']}" if len(weights) < arrays["units"] else f"all {len(weights)}"
    )
    return figure(
        inline_png(image, f"Weights into {count} units as small pictures", width=880, coarse=coarse),
        f"Weights into {count} units,",
        f"each scaled by its own largest weight: grey is zero, white positive, black negative. {shapes}: units whose "
        "pictures look like noise respond to no such shape.",
    )


def units(stages: Sequence[StageResult]) -> Markup:
    """Figure of active, informative and dead units per layer."""
    if not stages:
        return missing("The run has not finished: its diagnostics are not there yet.")
    used = [draw_unit_kl(stage) for stage in stages if stage.units and "kl" in stage.units]
    dead = [f"{figures.number(stage.diagnostics.get('dead_units'), '.0f')} in {stage.stage}" for stage in stages]
    shares = figure(
        inline_svg(
            draw_units(stages, PLACEHOLDERS), "units", "Active, informative and dead units of each layer in percent"
        ),
        "Validation data.",
        "Active: share of (example, unit) pairs with |h| > 0.01, low where codes are sparse. Informative: units whose "
        "variance exceeds 1% of the code's scale, which is that of a uniform distribution over its range, of the mean "
        f"unit, or of the prior. Dead: units that are active on no example ({', '.join(dead)}).",
    )
    return join([shares, *used])


def draw_unit_kl(stage: StageResult) -> Markup:
    """Figure of the KL divergence of every dimension of a variational code, the largest first."""
    assert stage.units is not None
    kl = sorted(stage.units["kl"], reverse=True)
    chart, axes = new_chart(5, 2.2, PLACEHOLDERS)
    axes.bar(range(1, len(kl) + 1), kl, color=PLACEHOLDERS.series[0], width=0.8)
    axes.set_xlabel("dimension, in order of its KL divergence")
    axes.set_ylabel("nats")
    used, active = (stage.diagnostics.get(f"{name}_units") for name in ("used", "active"))
    words = (
        "" if used is None else f"{used:.0f} of {len(kl)} dimensions are used: their KL divergence exceeds 0.1 nats. "
    )
    if active is not None:
        words += f"{active:.0f} are active: the variance of their mean over the data exceeds 0.01. "
    return figure(
        inline_svg(chart, f"kl-{stage.stage}", f"KL divergence of every dimension of {stage.stage}"),
        f"KL divergence per dimension, {stage.stage}.",
        f"{words}Together {figures.nats(sum(kl))} nats.",
    )


def draw_units(stages: Sequence[StageResult], colours: Colours) -> Figure:
    """Plot three bars per layer: shares of active pairs, informative units and dead units, in percent.

    Args:
        stages: Stages, from the input up.
        colours: Colour scheme of the chart.
    """
    chart, axes = new_chart(5, 0.75 + 0.75 * len(stages), colours)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=colours.grid, linewidth=0.8)
    for bar, name in enumerate(("active", "informative", "dead")):
        shares = [100 * _share(stage, name) for stage in stages]
        places = [k + 0.27 * (bar - 1) for k in range(len(stages))]
        # Green for active and blue for informative units, which are good; orange for dead units, which are bad.
        colour = colours.series[(2, 0, 1)[bar]]
        bars = axes.barh(places, shares, 0.23, color=colour, label=name)
        axes.bar_label(bars, [f"{share:.0f}%" for share in shares], padding=3, fontsize=SMALL, color=colours.ink)
    axes.set_yticks(range(len(stages)), [stage.stage for stage in stages], color=colours.ink)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
    chart.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL, labelcolor=colours.ink)
    return chart


def _share(stage: StageResult, name: str) -> float:
    if name == "active":
        return stage.diagnostics.get("active_share") or 0.0
    return (stage.diagnostics.get(f"{name}_units") or 0.0) / math.prod(stage.code_shape)
