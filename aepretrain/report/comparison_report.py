"""The HTML report of a comparison, which begins with the verdict."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.colours import LIGHT, PLACEHOLDERS, Colours
from aepretrain.report.comparison_answers import answers_section
from aepretrain.report.comparison_curves import learning_curves
from aepretrain.report.comparison_files import ComparisonFiles, first_pretraining, read_comparison, run_warnings
from aepretrain.report.comparison_pictures import draw_differences, draw_metric_by_labels
from aepretrain.report.comparison_tables import differences_table, errors_table, means_table, seeds_table
from aepretrain.report.drawing import attempt_picture, draw_or_explain
from aepretrain.report.inline import WITHOUT_PROGRAM, inline_svg, svg_text
from aepretrain.report.page import (
    figure,
    fold,
    heading,
    headline,
    missing,
    page,
    paragraph,
    row,
    section,
    warnings_list,
    write_page,
)
from aepretrain.report.pictures import write_picture
from aepretrain.report.pretraining import pretraining_sections
from aepretrain.report.provenance import provenance_section
from aepretrain.report.run_files import read_results
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.results.cell import Labels
from aepretrain.results.comparison import BudgetResult
from aepretrain.results.run import RunResult
from aepretrain.storage.files import make_folder, write_atomically
from aepretrain.storage.guard import inside

Interval = tuple[float, float]


def is_comparison(folder: Path) -> bool:
    """Whether a folder holds a comparison, finished or not."""
    return (folder / "config.yaml").is_file() and (folder / "runs").is_dir()


def write_comparison_report(folder: Path, neighbours: NeighbourEmbeddings | None = None) -> Path:
    """Write ``report.html`` and ``pictures/`` of a comparison from its files.

    Missing parts are left out, and the report gives the reason.

    Args:
        folder: Directory of a comparison, finished or not.
        neighbours: t-SNE of the codes of its first pretraining, if it has begun.

    Returns:
        The path of the report.

    Raises:
        StorageError: If a file is damaged or the report cannot be written.
    """
    files = read_comparison(folder)
    facts = _facts(files)
    name = "these data" if facts is None else facts.data.name
    views = [files, *files.also]
    parts = [
        heading(f"Does pretraining help on {name}?", 1),
        paragraph(_counts(files), "facts"),
        warnings_list(run_warnings(folder)),
        *_verdict(files),
        *(section(_capital(f"{each.metric.word} by {each.metric.counted}"), *_scores(each)) for each in views),
        section("Learning curves: pretrained and random overlaid", learning_curves(files)),
        answers_section(files, facts),
        *_pretraining(files, neighbours),
        section("Every seed", *_seeds(files)),
        provenance_section(folder, facts, seeds=files.seeds),
        paragraph(WHICH_DATA, "facts"),
    ]
    for each in views if files.rows else ():
        _write_pictures(each)
    return write_page(folder / "report.html", page(f"{name} · aepretrain compare", parts))


WHICH_DATA = (
    "Accuracies, R² or errors of reconstruction, differences, confusion matrices and predictions are of test data, "
    "which were read once per cell after every choice was made on validation data. All other figures and pictures are "
    "of training and validation data."
)


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _facts(files: ComparisonFiles) -> RunResult | None:
    """Results of the first pretraining, else of the first cell, for data, versions and device."""
    pretraining = first_pretraining(files.folder)
    found = read_results(pretraining) if pretraining else None
    if found is None:
        paths = sorted((files.folder / "runs").glob("*/results.json"))
        found = read_results(paths[0].parent) if paths else None
    return found


def _counts(files: ComparisonFiles) -> str:
    counts = [len({row.seed for row in files.rows if row.labels == labels}) for labels in files.labels]
    budgets = ", ".join(map(str, files.labels))
    seeds = ", ".join(map(str, dict.fromkeys(counts) if len(set(counts)) == 1 else counts))
    arms = [arm for arm in files.arms if arm not in BASELINES]
    baselines = [arm for arm in files.arms if arm in BASELINES]
    words = [f"{', '.join(arms)}", f"{seeds} seed{'' if seeds == '1' else 's'}", f"budgets {budgets}"]
    if baselines:
        words.insert(1, f"baselines {', '.join(baselines)}")
    if files.summary is not None:
        words.append(f"{files.summary.test_examples:,} test examples")
    return "; ".join(words) if files.rows else ""


def _verdict(files: ComparisonFiles) -> list[Markup]:
    """Cards with the verdict of each label budget and question, and baselines that beat every network."""
    if files.summary is None:
        cells = f"{len(files.rows)} cell{'s have' if len(files.rows) != 1 else ' has'} run"
        return [missing(f"No verdict yet: the comparison has not finished ({cells}). The same command goes on.")]
    cards = _cards(files, [(budget, budget.verdict) for budget in files.budgets])
    others = [
        _cards(files, [(budget, budget.longer_verdict) for budget in files.budgets], ", equal compute"),
        _cards(files, [(budget, budget.control_verdict) for budget in files.budgets], ", control network"),
        *(
            _cards(each, [(budget, budget.verdict) for budget in each.budgets], f", {each.metric.word}")
            for each in files.also
        ),
    ]
    if not cards:
        return [missing("No verdict: it needs the arms pretrained and random, and one of them was left out.")]
    brackets = "Brackets are 95% intervals of the mean paired difference over seeds."
    sentences = [files.summary.better_baselines(BASELINES), brackets]
    sentences += [each.metric.meaning for each in (files, *files.also)]
    sentences.append(f"{files.summary.splits_text[0].upper()}{files.summary.splits_text[1:]}.")
    if others[0]:
        sentences.insert(0, "Equal compute: random weights are trained for as long as pretraining took, too.")
    return [
        headline(cards),
        *(headline(more) for more in others if more),
        paragraph(" ".join(sentence for sentence in sentences if sentence)),
    ]


def _cards(
    files: ComparisonFiles, verdicts: Iterable[tuple[BudgetResult, str | None]], network: str = ""
) -> list[tuple[str, str, str, str]]:
    """Cards of the label budgets that have a verdict, for :func:`~aepretrain.report.page.headline`."""
    found = []
    for budget, verdict in verdicts:
        if verdict:
            answer, _, figures = verdict.partition(": ")
            named = f"{budget.labels} {files.metric.counted}"
            at, name = f" at {named}", f"{named}{network}"
            found.append((name, answer.removesuffix(at), figures.replace(at, ""), (answer.split() or [""])[0]))
    return found


def _intervals(files: ComparisonFiles, pair: tuple[str, str]) -> dict[Labels, Interval]:
    """95 % interval of a paired difference by label budget; budgets without one are absent."""
    found = {}
    for budget in files.budgets:
        difference = budget.differences.get(" - ".join(pair))
        if difference and all(map(math.isfinite, difference.interval)):
            found[budget.labels] = difference.interval
    return found


def _by_labels(files: ComparisonFiles) -> str:
    """Name of the first chart."""
    return f"{files.metric.name}-by-{files.metric.counted}"


def _charts(files: ComparisonFiles, colours: Colours) -> dict[str, Callable[[], Figure]]:
    """The charts that both the report and ``pictures/`` contain, by name; each is drawn when it is called."""
    charts: dict[str, Callable[[], Figure]] = {_by_labels(files): partial(draw_metric_by_labels, files, colours)}
    for pair in files.pairs:
        name = "differences" if pair[0] == "pretrained" else f"differences-{pair[0]}"
        name = name if files.shown is None else f"{name}-{files.shown}"
        charts[name] = partial(draw_differences, files, pair, _intervals(files, pair), colours)
    return charts


def _scores(files: ComparisonFiles) -> list[Markup]:
    if not files.rows:
        return [missing("No cell has finished yet, so there is nothing to show.")]
    one_seed = len(files.seeds) == 1
    spread = "With one seed there is no spread to show." if one_seed else "Bands: ± one standard deviation over seeds."
    captions = {
        _by_labels(files): (f"Test {files.metric.word}, mean over seeds.", f"{spread} Baselines are thin and dashed."),
    }
    figures = [
        _chart(name, draw, *captions.get(name, ("Paired difference.", DIFFERENCES[files.metric.is_error])))
        for name, draw in _charts(files, PLACEHOLDERS).items()
    ]
    if not files.pairs:
        figures.append(missing("No paired difference: the arms pretrained and random are not both here."))
    return [
        row(figures[:2], "lead"),
        row(figures[2:]) if figures[2:] else Markup(""),
        means_table(files),
        errors_table(files),
        differences_table(files),
    ]


def _chart(name: str, draw: Callable[[], Figure], title: str, caption: str) -> Markup:
    words = name.replace("-", " ")
    return draw_or_explain(
        f"the chart {words}", lambda: figure(inline_svg(draw(), name, f"Chart: {words}"), title, caption)
    )


DIFFERENCES = {
    is_error: "Each dot is a seed, the diamond their mean with its 95% interval. "
    f"{'Below' if is_error else 'Above'} zero, pretraining is better."
    for is_error in (False, True)
}
"""The caption of the charts of differences, by whether the metric is an error."""


def _pretraining(files: ComparisonFiles, neighbours: NeighbourEmbeddings | None) -> list[Markup]:
    folder = first_pretraining(files.folder)
    if folder is None:
        return [section("What pretraining learnt", missing("Nothing was pretrained: no arm that needs it has run."))]
    seed = folder.name.removeprefix("pretraining-seed")
    words = paragraph(f"Of seed {seed}; label budgets and arms share the encoder of a seed.")
    first, *others = pretraining_sections(folder, neighbours)
    title = heading("What pretraining learnt: stages", 2) + words
    return [first.replace(heading("Stages", 2), title), *others]


def _seeds(files: ComparisonFiles) -> list[Markup]:
    if not files.rows:
        return [missing("No cell has finished yet.")]
    title = f"All {len(files.rows)} cells: scores, epochs, seconds, settings"
    return [fold(title, seeds_table(files))]


def _write_pictures(files: ComparisonFiles) -> None:
    """Write the charts in light colours, as SVG and PNG, for a README or slides."""
    folder = inside(files.folder, "pictures")
    make_folder(folder)
    for name, draw in _charts(files, LIGHT).items():
        attempt_picture(folder / f"{name}.svg", partial(_write_picture, folder, name, draw))


def _write_picture(folder: Path, name: str, draw: Callable[[], Figure]) -> None:
    chart = draw()
    write_atomically(folder / f"{name}.svg", svg_text(chart, name).encode())
    write_picture(folder / f"{name}.png", chart, dpi=150, metadata=WITHOUT_PROGRAM)
