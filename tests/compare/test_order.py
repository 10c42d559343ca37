"""The order of a comparison, and what is told and written on the way: by a bench that trains nothing."""

import csv
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import aepretrain.compare as module
from aepretrain.compare import Bench, Comparison, Trial, Workers
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.results.cell import CellResult
from aepretrain.results.comparison import ComparisonResult
from tests.support.comparisons import small_experiment, wide_layer

ROW = re.compile(r"(\d+/\d+)  (.*) labels  seed (\d)  validation 50\.00%  test (\d\d)\.00%(?:  about (.*) left)?")


@dataclass(frozen=True)
class Quick(Bench):
    """Knows the row of every cell, and notes what it is asked for."""

    asked: list = field(default_factory=list)
    rows: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)
    at_once: bool = True

    def finished(self, cell):
        return self.rows.get(cell)

    def run(self, cell, tuned=None):
        self.asked.append(cell.name)
        return row_of(cell)

    def is_pretrained(self, seed, control):
        return self.name_of_pretraining((seed, control)) in self.asked

    def pretrain(self, seed, *, control):
        self.asked.append(self.name_of_pretraining((seed, control)))

    def pretrain_many(self, seeds, *, control, vectorize):
        if self.at_once:
            self.asked.extend(self.name_of_pretraining((seed, control)) for seed in seeds)
        return self.at_once

    def reason_not_batched(self, cells, vectorize):
        return self.reasons.get(cells[0].arm)

    def run_many(self, cells):
        self.asked.append(f"{len(cells)} of {cells[0].arm}-{cells[0].budget}")
        return [(cell, row_of(cell)) for cell in cells] if self.at_once else []


def row_of(cell):
    return CellResult(cell.arm, cell.seed, cell.budget, 0.5, (10 + cell.seed) / 100)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Makes a bench whose clock moves on by ten seconds per look at it."""
    looks = iter(range(5_000, 15_000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
    (tmp_path / "runs").mkdir()
    trial = Trial(small_experiment(), small_experiment(wide_layer))

    def make(comparison, *, trials=1, **options):
        return Quick(Comparison(**{"baselines": [], **comparison}), [trial] * trials, tmp_path / "runs", **options)

    return make


def compare(bench, capsys, workers=Workers(), vectorize="off"):
    """Run what is missing; the matches of the lines of cells, all lines, and the table."""
    module._run_missing(bench, bench.runs.parent, workers, vectorize, None, NeighbourEmbeddings())
    said = capsys.readouterr().out.splitlines()
    with (bench.runs.parent / "results.csv").open(newline="") as file:
        table = [f"{row['arm']}-{row['labels']}-seed{row['seed']}" for row in csv.DictReader(file)]
    return [match.groups() for line in said if (match := ROW.fullmatch(line))], said, table


BOTH = {"arms": ["random-longer", "pretrained", "control-pretrained"], "seeds": [2, 1], "labels": [30, None]}


def test_seed_by_seed_what_pretraining_needs_then_all_cells_then_those_of_longer_training(bench, capsys):
    quick = bench({**BOTH, "baselines": ["knn"]})
    rows, said, table = compare(quick, capsys)
    assert quick.asked == [
        "pretraining-seed0", "pretraining-control-seed0",
        "pretrained-30-seed0", "control-pretrained-30-seed0", "knn-30-seed0",
        "pretrained-all-seed0", "control-pretrained-all-seed0", "knn-all-seed0",
        "random-longer-30-seed0", "random-longer-all-seed0",
        "pretraining-seed1", "pretraining-control-seed1",
        "pretrained-30-seed1", "control-pretrained-30-seed1", "knn-30-seed1", "random-longer-30-seed1",
    ]  # fmt: skip
    assert [line for line in said if line.startswith("pretraining")] == [
        f"pretraining{words} seed {seed} finished" for seed in (0, 1) for words in ("", " of the control")
    ]
    assert [row[0] for row in rows] == [f"{k}/12" for k in range(1, 13)]
    assert [row[4] for row in rows] == [
        "1 min 50 s", "1 min 40 s", "1 min 30 s", "1 min 20 s", "1 min 10 s", "1 min 00 s",
        "50.0 s", "40.0 s", "30.0 s", "20.0 s", "10.0 s", None,
    ]  # fmt: skip
    assert [row[3] for row in rows] == ["10"] * 8 + ["11"] * 4
    assert table == [cell.name for cell in quick.comparison.cells()]


def test_finished_cells_are_counted_and_neither_run_nor_pretrained_for(bench, capsys):
    cells = list(Comparison(**BOTH, baselines=[]).cells())
    quick = bench(
        BOTH, rows={cell: row_of(cell) for cell in cells if cell.seed == 0 or cell.arm == "control-pretrained"}
    )
    rows, _, table = compare(quick, capsys)
    assert quick.asked == ["pretraining-seed1", "pretrained-30-seed1", "random-longer-30-seed1"]
    assert [(row[0], row[4]) for row in rows] == [("8/9", "10.0 s"), ("9/9", None)]
    assert table == [cell.name for cell in cells]


def test_the_table_and_the_summary_hold_what_is_known(bench, capsys, monkeypatch):
    quick, written, write_rows = bench({"arms": ["random"], "seeds": 3}), [], module.write_rows
    monkeypatch.setattr(
        module, "write_rows", lambda path, rows: written.append((path.name, len(rows))) or write_rows(path, rows)
    )
    (quick.runs / "together.json").touch()
    monkeypatch.setattr(module, "run_warnings", lambda out: [f"of {out.name}"])
    told, out = [], quick.runs.parent
    found = module._run_missing(quick, out, Workers(), "off", told.append, NeighbourEmbeddings())
    assert told == [found]
    assert found.warnings == (f"of {out.name}",)
    assert ComparisonResult.read(out / "summary.json") == found
    assert written == [("results.csv", count) for count in (1, 2, 3, 3)]
    assert not list(quick.runs.iterdir())
    summary = json.loads((out / "summary.json").read_text())
    assert summary["budgets"][0]["arms"]["random"]["mean"] == pytest.approx(0.11)
    assert not (out / "report.html").exists()


def test_the_report_is_drawn_at_the_end_if_it_is_asked_for(bench, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "draw_report", lambda write, out: drawn.append((write, out)))
    for report in (False, True):
        quick = replace(bench({"arms": ["random"], "seeds": 1}), trials=[Trial(small_experiment(report=report))])
        compare(quick, capsys)
    ((write, folder),) = drawn
    assert (write.func, folder) == (module.write_comparison_report, quick.runs.parent)
    assert type(write.keywords["neighbours"]) is NeighbourEmbeddings


@pytest.mark.parametrize("given", [True, False])
def test_the_bench_of_a_comparison_is_set_up_in_its_directory(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment, trial = small_experiment(), Trial(small_experiment(), settings={"lr": 1})
    found = module._set_up(experiment, Comparison(seeds=1), Path("out"), None, [trial] if given else [])
    assert found.runs == tmp_path / "out" / "runs"
    assert found.runs.is_dir()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data.json", "runs"]
    assert found.data == experiment.data.fingerprint()
    assert found.trials == ([trial] if given else [Trial(experiment)])


def test_finished_cells_that_are_not_named_are_told(bench, capsys):
    quick = bench({"arms": ["random"], "seeds": 1})
    for name in ("random-9-seed0", "random-all-seed0"):
        (quick.runs / name).mkdir()
        (quick.runs / name / "row.json").touch()
    _, said, _ = compare(quick, capsys)
    assert "now (random-9-seed0): left out of results.csv, the summary and the report" in " ".join(said)


def test_seeds_at_once_come_first_arm_by_arm_and_what_is_left_seed_by_seed(bench, capsys):
    quick = bench(BOTH, reasons={"control-pretrained": "of a reason"})
    _, said, table = compare(quick, capsys, vectorize="on")
    assert quick.asked == [
        "pretraining-seed0", "pretraining-seed1", "pretraining-control-seed0", "pretraining-control-seed1",
        "2 of random-longer-30", "2 of pretrained-30",
        "control-pretrained-30-seed0", "pretrained-all-seed0", "control-pretrained-all-seed0",
        "random-longer-all-seed0", "control-pretrained-30-seed1",
    ]  # fmt: skip
    assert [line for line in said if not ROW.fullmatch(line)] == [
        "pretraining seeds 0, 1 finished",
        "pretraining of the control seeds 0, 1 finished",
        "control-pretrained  one seed after another: of a reason",
    ]
    assert table == [cell.name for cell in quick.comparison.cells()]


def test_a_budget_of_one_seed_does_not_end_the_search_for_seeds_at_once(bench, capsys):
    quick = bench({"arms": ["random"], "seeds": [1, 2], "labels": [30, None]})
    compare(quick, capsys, vectorize="on")
    assert quick.asked == ["2 of random-all", "random-30-seed0"]


def test_one_reason_of_several_arms_is_told_once(bench, capsys):
    quick = bench({"arms": ["random", "pretrained", "probe"], "seeds": 2}, reasons={"random": "a", "probe": "a"})
    _, said, _ = compare(quick, capsys, vectorize="auto")
    assert [line for line in said if "one seed after another" in line] == ["random  one seed after another: a"]


@pytest.mark.parametrize(("at_once", "seeds"), [(False, 2), (True, 1)])
def test_seeds_that_are_not_trained_at_once_are_trained_as_ever(at_once, seeds, bench, capsys):
    quick = bench({"arms": ["pretrained"], "seeds": seeds}, at_once=at_once)
    rows, said, _ = compare(quick, capsys, vectorize="auto")
    assert [line for line in said if line.startswith("pretraining")] == [
        f"pretraining seed {seed} finished" for seed in range(seeds)
    ]
    assert [row[0] for row in rows] == [f"{k + 1}/{seeds}" for k in range(seeds)]


GRID = {"grid": {"finetune.epochs": [1, 2]}, "splits": "fixed", "arms": ["random"], "seeds": 3}


@pytest.mark.parametrize(("trials", "asked"), [(1, ["3 of random-all"]), (2, ["2 of random-all", "random-all-seed0"])])
def test_a_seed_that_chooses_for_the_others_is_not_among_them(trials, asked, bench, capsys):
    quick = bench(GRID if trials == 2 else {**GRID, "grid": {}}, trials=trials)
    compare(quick, capsys, vectorize="on")
    assert quick.asked == asked


class Sharing(Workers):
    """Workers that note the names of the jobs that they share, and answer in turn."""

    seen: list
    is_parallel = True

    def run(self, work, jobs, name=str):
        if jobs:
            self.seen.append([name(job) for job in jobs])
        yield from map(work, jobs)


@pytest.mark.parametrize(
    ("trials", "splits", "shared"),
    [
        (2, "fixed", [[0], [1, 2]]),
        (2, "per-seed", [[0, 1, 2]]),
        (1, "fixed", [[0, 1, 2]]),
        (1, "per-seed", [[0, 1, 2]]),
    ],
)
def test_workers_share_the_seeds_but_for_one_that_chooses(trials, splits, shared, bench, capsys, monkeypatch):
    monkeypatch.setattr(Sharing, "seen", [], raising=False)
    comparison = {**GRID, "splits": splits, "arms": ["pretrained", "random-longer"], "labels": [30]}
    quick = bench(comparison if trials == 2 else {**comparison, "grid": {}}, trials=trials)
    compare(quick, capsys, workers=Sharing(2))
    names = [["pretraining-seed{}", "pretrained-30-seed{}", "random-longer-30-seed{}"] for _ in shared]
    assert Sharing.seen == [
        [name.format(seed) for seed in seeds] for seeds, own in zip(shared, names, strict=True) for name in own
    ]
