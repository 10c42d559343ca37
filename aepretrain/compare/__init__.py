"""Paired comparisons of pretraining and random initialization, over arms x seeds x label budgets, with a verdict."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from operator import attrgetter
from pathlib import Path

from aepretrain.compare.arms import ARMS
from aepretrain.compare.cells import Bench, Trial, task_of
from aepretrain.compare.data_record import check_recorded, record_data
from aepretrain.compare.options import Cell, Comparison
from aepretrain.compare.summary import summarize
from aepretrain.compare.workers import Workers
from aepretrain.console import format_duration, print_line
from aepretrain.data import DataModule
from aepretrain.data.words import count_of, list_of
from aepretrain.ensembles.train import Vectorize
from aepretrain.errors import ConfigError, DataError
from aepretrain.report.comparison_files import first_pretraining, run_warnings
from aepretrain.report.comparison_report import write_comparison_report
from aepretrain.report.drawing import draw_report
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.report.two_dimensions import begin_embeddings
from aepretrain.results.cell import SPLITS, CellResult, write_rows
from aepretrain.results.comparison import ComparisonResult
from aepretrain.results.metric import METRICS
from aepretrain.runs.drawing import drawing_report
from aepretrain.runs.experiment import Experiment
from aepretrain.storage.files import make_folder
from aepretrain.storage.guard import inside
from aepretrain.tracking.comparison import log_comparison, name_offline_runs
from aepretrain.tracking.wandb_mode import resolve_mode

__all__ = ["Bench", "Cell", "Comparison", "Trial", "Workers", "check_comparison", "compare", "complete"]


def compare(
    experiment: Experiment,
    comparison: Comparison,
    out: Path,
    *,
    control: Experiment | None = None,
    trials: Sequence[Trial] = (),
    workers: Workers = Workers(),
    vectorize: Vectorize = "off",
    on_summary: Callable[[ComparisonResult], None] | None = None,
) -> ComparisonResult:
    """Run the missing cells of a comparison, and summarize it.

    Finished cells are not run again, so a stopped comparison resumes, and an extended one runs only its new cells.

    Args:
        experiment: The settings shared by all arms; the comparison sets the seed and the label budget.
        comparison: Arms, seeds, label budgets and baselines.
        out: The directory of the comparison, created if missing.
        control: The second network, on the same data, for the arms that begin with ``control``.
        trials: The experiments for every combination of ``comparison.grid``; empty without a grid.
        workers: The processes that share the work.
        vectorize: Whether one process trains all seeds at once: if possible and faster (``auto``), always (``on``), or
            never (``off``). Results agree within rounding.
        on_summary: Called with the summary as soon as it is written, before the loggers and the report.

    Returns:
        Means, differences and verdicts, as in ``summary.json``.

    Raises:
        ConfigError: If there is neither a head nor ``pretrain.unroll``, the experiment uses several processes or begins
            from another run, or a control or trials that the comparison needs are missing.
        DataError: If the data changed since a cell was run.

    Example:
        >>> import tempfile
        >>> from aepretrain import DenoisingAutoencoder, Dense, Digits, FineTuning, Pretraining
        >>> layer = lambda shape: DenoisingAutoencoder(shape, Dense(16))
        >>> lengths = {"pretrain": Pretraining(epochs=1), "finetune": FineTuning(epochs=1)}
        >>> experiment = Experiment([layer], Digits(), **lengths, report=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = compare(experiment, Comparison(seeds=1, baselines=[]), Path(folder))  # doctest: +ELLIPSIS
        00-denoising ...
        >>> found.budgets[0].verdict
        'cannot tell at all labels: 1 seed is too few, at least 3 are needed'
    """
    bench = _set_up(experiment, complete(comparison, experiment), out, control, trials)
    with name_offline_runs(bench.tracking, out), NeighbourEmbeddings() as neighbours:
        return _run_missing(bench, out, workers, vectorize, on_summary, neighbours)


def complete(comparison: Comparison, experiment: Experiment) -> Comparison:
    """The comparison with the defaults for an experiment: its baselines, if none were named, and splits.

    Raises:
        ConfigError: If the experiment cannot be compared, or an option is for something else.
    """
    task_of(experiment).check(experiment)
    return comparison.for_data(experiment.data, reconstructs=not experiment.has_classifier)


def _run_missing(
    bench: Bench,
    out: Path,
    workers: Workers,
    vectorize: Vectorize,
    on_summary: Callable[[ComparisonResult], None] | None,
    neighbours: NeighbourEmbeddings,
) -> ComparisonResult:
    comparison, cells = bench.comparison, list(bench.comparison.cells())
    is_drawn = bench.trials[0].experiment.report
    rows = {cell: row for cell in cells if (row := bench.finished(cell)) is not None}
    missing = [cell for cell in cells if cell not in rows]
    _tell_left_out(out, cells)
    start, before = time.perf_counter(), len(rows)

    def pretrain(needing: Sequence[Cell]) -> None:
        for seed, control_network in workers.run(
            bench.pretrain_job, _pretrainings(bench, needing), bench.name_of_pretraining
        ):
            print_line(f"pretraining{' of the control' if control_network else ''} seed {seed} finished")
        # t-SNE for the report, while cells are trained; but not while their seconds decide something.
        first = first_pretraining(out)
        if is_drawn and first is not None and comparison.longer_by == "steps":
            begin_embeddings(first, neighbours)

    def close(cell: Cell, row: CellResult) -> None:
        rows[cell] = row
        write_rows(out / "results.csv", [rows[cell] for cell in cells if cell in rows])
        done = len(rows) - before
        left = (time.perf_counter() - start) / done * (len(missing) - done)
        print_line(
            f"{len(rows)}/{len(cells)}  {_format_row(row)}" + (f"  about {format_duration(left)} left" if left else "")
        )

    if _may_vectorize(bench, missing, workers, vectorize):
        _pretrain_vectorized(bench, missing, vectorize)
        for group in _groups(bench, missing, vectorize):
            pretrain(group)
            for cell, row in bench.run_many(group):
                close(cell, row)
    for seeds in _seed_groups(comparison, workers, tuned=len(bench.trials) > 1 and not bench.tunes_every_seed):
        pretrain([cell for cell in missing if cell.seed in seeds])
        # The budget of random-longer may depend on the run time of random.
        for longer in (False, True):
            left = [cell for cell in missing if cell not in rows]
            jobs = [cell for cell in left if cell.seed in seeds and _is_longer(cell) == longer]
            for cell, row in workers.run(bench.cell_job, jobs, attrgetter("name")):
                close(cell, row)
    bench.remove_groups()
    write_rows(out / "results.csv", [rows[cell] for cell in cells])
    facts = bench.trials[0].experiment.describe_data()
    summary = summarize([rows[cell] for cell in cells], comparison, facts, bench.row_values)
    summary = replace(summary, warnings=tuple(run_warnings(out)))
    summary.write(out / "summary.json")
    if on_summary is not None:
        on_summary(summary)

    def draw() -> None:
        if is_drawn:
            with drawing_report(out):
                draw_report(partial(write_comparison_report, neighbours=neighbours), out)

    # Results are printed and logged before anything is drawn: pictures cannot cost them.
    log_comparison(bench.tracking, out, summary, [rows[cell] for cell in cells], draw=draw)
    return summary


def _set_up(
    experiment: Experiment, comparison: Comparison, out: Path, control: Experiment | None, trials: Sequence[Trial]
) -> Bench:
    check_comparison(experiment, comparison, control, trials)
    trials = trials or [Trial(experiment, control)]
    data = trials[0].experiment.data
    check_recorded(out, data)
    make_folder(inside(out, "runs"))
    record_data(out, data)
    tracking = resolve_mode(experiment.tracking)
    return Bench(comparison, trials, (out / "runs").absolute(), tracking, data.fingerprint())


def check_comparison(
    experiment: Experiment, comparison: Comparison, control: Experiment | None = None, trials: Sequence[Trial] = ()
) -> None:
    """Check that an experiment can be compared, and that its data can give every label budget.

    Args:
        experiment: The settings shared by all arms.
        comparison: Arms, seeds, label budgets and baselines, for these data.
        control: The second network; ``None`` without one.
        trials: The experiments for every combination of ``comparison.grid``; empty without a grid.

    Raises:
        ConfigError: If there is neither a head nor ``pretrain.unroll``, the experiment uses several processes or begins
            from another run, or a control or trials that the comparison needs are missing.
        DataError: If the data cannot give a label budget.
    """
    for each in (experiment, control, *(each for trial in trials for each in (trial.experiment, trial.control))):
        if each is not None and each.warm_start is not None:
            raise ConfigError(
                f"a comparison cannot begin from warm_start {each.warm_start.run}: all seeds would share its weights, "
                "so intervals over seeds would be too narrow, and it may have seen test rows. Leave it out."
            )
    for each in (experiment, control) if control else (experiment,):
        task_of(experiment).check(each)
        if each.trainer.devices not in (1, "1") or each.trainer.num_nodes != 1:
            raise ConfigError("a comparison trains every cell on one device. Set trainer.devices to 1.")
    if comparison.has_control and control is None:
        raise ConfigError("compare.arms name a control, but there is none. Give its layers under control.layers.")
    if control is not None and not comparison.has_control:
        raise ConfigError("there is a control, but no arm uses it. Add control-random to compare.arms.")
    if len(trials) != len(comparison.settings()) and (trials or comparison.grid):
        raise ConfigError(
            f"compare.grid has {len(comparison.settings())} combinations, but {len(trials)} trials are given."
        )
    _check_budgets(trials[0].experiment.data if trials else experiment.data, comparison)


def _tell_left_out(out: Path, cells: Sequence[Cell]) -> None:
    """Warn of finished cells that are not named now: ``results.csv`` and the summary hold the named ones alone."""
    named = {cell.name for cell in cells}
    others = sorted(path.parent.name for path in (out / "runs").glob("*/row.json") if path.parent.name not in named)
    if others:
        print_line(
            f"warning: {count_of(len(others), 'finished cell')} of {out} not named now ({list_of(others)}): left out "
            "of results.csv, the summary and the report, and kept in runs. Name their arms, seeds and budgets, too, to "
            "have them back."
        )


def _check_budgets(data: DataModule, comparison: Comparison) -> None:
    """Draw every label budget once, so that one that the data cannot give fails before the first stage.

    Raises:
        ConfigError, DataError: If there are too few labels in all or of a class; the message names budget and seed.
    """
    # To divide a file anew is to read it, so of data with a memory budget the first division alone is tried.
    anew = comparison.splits == "per-seed" and data.memory_limit is None
    for seed in range(comparison.most_seeds if anew else 1):
        divided = data.with_split(seed) if anew else data
        for labels in comparison.labels:
            try:
                divided.with_labels(labels).splits(seed)
            except (ConfigError, DataError) as error:
                words = str(error).replace("data.labels", "compare.labels")
                raise type(error)(f"compare.labels {labels}, seed {seed}: {words}") from error


def _seed_groups(comparison: Comparison, workers: Workers, *, tuned: bool) -> Iterator[list[int]]:
    """Seeds that may run in parallel: one at a time in one process; the first alone if it chooses the settings."""
    seeds = list(range(comparison.most_seeds))
    if not workers.is_parallel:
        yield from ([seed] for seed in seeds)
    elif tuned:
        yield seeds[:1]
        yield seeds[1:]
    else:
        yield seeds


def _pretrainings(bench: Bench, cells: Sequence[Cell]) -> list[tuple[int, bool]]:
    """The pretraining jobs that these cells need: (seed, whether of the control network)."""
    needed = {
        (cell.seed, ARMS[cell.arm].control)
        for cell in cells
        if cell.arm in ARMS and (ARMS[cell.arm].pretrained or ARMS[cell.arm].longer)
    }
    return sorted(job for job in needed if not bench.is_pretrained(*job))


def _may_vectorize(bench: Bench, missing: Sequence[Cell], workers: Workers, vectorize: Vectorize) -> bool:
    """Whether the options of the comparison allow training seeds at once.

    Raises:
        ConfigError: If ``vectorize`` is ``on``, and the options do not allow it.
    """
    timed = bench.comparison.longer_by == "seconds" and any(_is_longer(cell) for cell in missing)
    for forbidden, words in (
        (not bench.task.may_batch_seeds, "all layers together are trained one seed after another. Leave it out"),
        (workers.is_parallel, "several workers share the seeds. Use one worker"),
        (bench.tunes_every_seed, "with compare.grid every seed chooses its own settings. Use compare.splits fixed"),
        (timed, "compare.longer_by seconds needs the time of each seed by itself. Use steps"),
    ):
        if forbidden and vectorize == "on":
            raise ConfigError(f"--vectorize on: {words}, or --vectorize auto.")
        if forbidden:
            return False
    return vectorize != "off"


def _pretrain_vectorized(bench: Bench, missing: Sequence[Cell], vectorize: Vectorize) -> None:
    """Pretrain the missing seeds at once, before any cell; seeds left out here are pretrained one by one."""
    jobs = _pretrainings(bench, missing)
    for control in (False, True):
        seeds = [seed for seed, is_control in jobs if is_control == control]
        if len(seeds) > 1 and bench.pretrain_many(seeds, control=control, vectorize=vectorize):
            print_line(f"pretraining{' of the control' if control else ''} seeds {', '.join(map(str, seeds))} finished")


def _groups(bench: Bench, missing: Sequence[Cell], vectorize: Vectorize) -> Iterator[list[Cell]]:
    """Groups of cells that differ only in their seeds and can be trained at once; other cells run one by one."""
    tuned, printed = len(bench.trials) > 1, set()
    for arm, labels in product(bench.comparison.arms, bench.comparison.labels):
        # If the first seed chooses the settings, it runs alone.
        cells = [cell for cell in missing if (cell.arm, cell.labels) == (arm, labels) and cell.seed >= tuned]
        if len(cells) < 2:
            continue
        if (reason := bench.reason_not_batched(cells, vectorize)) is None:
            yield cells
        elif reason not in printed:
            printed.add(reason)
            print_line(f"{arm}  one seed after another: {reason}")


def _is_longer(cell: Cell) -> bool:
    return cell.arm in ARMS and ARMS[cell.arm].longer


def _format_row(row: CellResult) -> str:
    metric, figures = row.metric, []
    for name in (metric.name, *metric.also):
        word = "" if name == "accuracy" else f"{METRICS[name].word} "
        splits = {split: row.score(split, name) for split in SPLITS}
        forms = {"accuracy": ".2%", "r2": ".3f"}
        texts = [f"{split} {score:{forms.get(name) or METRICS[name].form(score)}}" for split, score in splits.items()]
        figures.append(f"{word}{'  '.join(texts)}")
    return f"{row.arm}  {row.labels} {metric.counted}  seed {row.seed}  {'  '.join(figures)}"
