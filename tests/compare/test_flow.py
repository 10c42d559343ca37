"""What a comparison runs, in which order, and what it prints and writes on the way."""

import csv
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

import aepretrain.compare as module
from aepretrain import Classifier, ConfigError, FineTuning
from aepretrain.compare import Cell, Comparison, Trial, Workers, compare
from aepretrain.report.comparison_files import run_warnings
from aepretrain.results.cell import read_rows
from tests.support.comparisons import small_bench, small_experiment, wide_layer

ROW = re.compile(
    r"(?P<done>\d+/\d+)  (?P<arm>[a-z-]+)  (?P<labels>\w+) labels  seed (?P<seed>\d)  "
    r"validation (?P<validation>[\d.]+)%  test (?P<test>[\d.]+)%(  about (?P<left>.*) left)?"
)
TWO_ARMS = Comparison(arms=["pretrained", "random"], seeds=2, labels=[30], baselines=[])


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by ten seconds per look at it."""
    looks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(looks)))


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_every_cell_is_told_with_its_figures_and_the_time_that_is_left(tmp_path, capsys, clock):
    comparison = Comparison(arms=["random-longer", "pretrained"], seeds=[2, 1], labels=[30, None], baselines=["knn"])
    told = []
    found = compare(small_experiment(), comparison, tmp_path, on_summary=told.append)
    said = lines(capsys)
    rows = [match for line in said if (match := ROW.fullmatch(line))]
    assert [match["done"] for match in rows] == [f"{k}/9" for k in range(1, 10)]
    assert [match["left"] for match in rows] == ["1 min 20 s", "1 min 10 s", "1 min 00 s", *(
        f"{left}.0 s" for left in (50, 40, 30, 20, 10)
    ), None]  # fmt: skip
    # In a seed, random-longer comes last: its budget may depend on the time of others.
    order = [(match["arm"], match["labels"], match["seed"]) for match in rows]
    assert order == [
        ("pretrained", "30", "0"), ("knn", "30", "0"), ("pretrained", "all", "0"), ("knn", "all", "0"),
        ("random-longer", "30", "0"), ("random-longer", "all", "0"),
        ("pretrained", "30", "1"), ("knn", "30", "1"), ("random-longer", "30", "1"),
    ]  # fmt: skip
    finished = [line for line in said if line.startswith("pretraining")]
    assert finished == ["pretraining seed 0 finished", "pretraining seed 1 finished"]
    assert said.index(finished[1]) > said.index(rows[5][0])
    table = {(row.arm, str(row.labels), str(row.seed)): row for row in read_rows(tmp_path / "results.csv")}
    for match, key in zip(rows, order, strict=True):
        shown = (f"{table[key].validation_accuracy:.2%}", f"{table[key].test_accuracy:.2%}")
        assert (f"{match['validation']}%", f"{match['test']}%") == shown
    cells = [(cell.arm, str(cell.budget), str(cell.seed)) for cell in comparison.cells()]
    assert list(table) == cells
    assert told == [found]
    assert found.warnings == tuple(run_warnings(tmp_path)) != ()
    found.write(tmp_path / "found.json")
    assert (tmp_path / "summary.json").read_bytes() == (tmp_path / "found.json").read_bytes()
    assert not (tmp_path / "report.html").exists()


def test_only_the_cells_that_are_missing_are_run(tmp_path, capsys, clock):
    compare(small_experiment(), TWO_ARMS, tmp_path)
    table = (tmp_path / "results.csv").read_text()
    (tmp_path / "runs" / "random-30-seed1" / "row.json").unlink()
    (tmp_path / "runs" / "pretraining-seed0" / "results.json").unlink()  # nobody needs it any more
    (tmp_path / "runs" / "together-random-30.json").write_text("{}")
    capsys.readouterr()
    compare(small_experiment(), TWO_ARMS, tmp_path)
    assert not list((tmp_path / "runs").glob("together*"))
    rows = [match for line in lines(capsys) if (match := ROW.fullmatch(line))]
    assert [(match["done"], match["arm"], match["seed"], match["left"]) for match in rows] == [
        ("4/4", "random", "1", None)
    ]
    assert not (tmp_path / "runs" / "pretraining-seed0" / "results.json").exists()
    assert _without_seconds(tmp_path) == [line for line in csv.reader(table.splitlines()) if line.pop(7)]
    compare(small_experiment(), replace(TWO_ARMS, seeds=3), tmp_path)
    rows = [match for line in lines(capsys) if (match := ROW.fullmatch(line))]
    assert [(match["done"], match["left"]) for match in rows] == [("5/6", "10.0 s"), ("6/6", None)]


def test_the_table_grows_with_every_cell(tmp_path):
    def make(encoder, classes):
        if (tmp_path / "results.csv").is_file():
            raise KeyboardInterrupt
        return Classifier(encoder, classes)

    with pytest.raises(KeyboardInterrupt):
        compare(small_experiment(classifier=make), TWO_ARMS, tmp_path)
    (row,) = read_rows(tmp_path / "results.csv")
    assert (row.arm, row.seed) == ("pretrained", 0)


def _without_seconds(folder):
    with (folder / "results.csv").open(newline="") as file:
        return [line for line in csv.reader(file) if line.pop(7)]


def test_finished_cells_that_are_not_named_are_told_and_come_back_when_they_are(tmp_path, capsys):
    whole = Comparison(arms=["random"], seeds=2, labels=[9, 30], baselines=["knn"])
    compare(small_experiment(), whole, tmp_path)
    assert "left out" not in capsys.readouterr().out
    table = (tmp_path / "results.csv").read_text()
    less = {
        "labels": ([30], "knn-9-seed0, knn-9-seed1, random-9-seed0, random-9-seed1"),
        "seeds": (1, "knn-30-seed1, knn-9-seed1, random-30-seed1, random-9-seed1"),
        "baselines": ([], "knn-30-seed0, knn-30-seed1, knn-9-seed0, knn-9-seed1"),
    }
    for name, (value, left_out) in less.items():
        compare(small_experiment(), replace(whole, **{name: value}), tmp_path)
        said = " ".join(capsys.readouterr().out.split())
        assert (
            f"warning: 4 finished cells of {tmp_path} not named now ({left_out}): left out of results.csv, the summary "
            "and the report, and kept in runs."
        ) in said
        assert len(read_rows(tmp_path / "results.csv")) == 4
    compare(small_experiment(), whole, tmp_path)
    assert (tmp_path / "results.csv").read_text() == table


def test_the_control_is_pretrained_and_told_by_its_name(tmp_path, capsys):
    comparison = Comparison(arms=["control-pretrained", "control-random"], seeds=1, labels=[30], baselines=[])
    compare(small_experiment(), comparison, tmp_path, control=small_experiment(wide_layer))
    assert "pretraining of the control seed 0 finished" in lines(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"data.json", "results.csv", "runs", "summary.json"}
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "control-pretrained-30-seed0", "control-random-30-seed0", "pretraining-control-seed0"
    ]  # fmt: skip


def test_the_report_is_drawn_if_it_is_asked_for(tmp_path):
    comparison = Comparison(arms=["random"], seeds=1, labels=[30], baselines=[])
    compare(small_experiment(report=True), comparison, tmp_path)
    assert "random" in (tmp_path / "report.html").read_text()


def test_what_stands_against_seeds_at_once_is_told_once(tmp_path, capsys):
    comparison = Comparison(arms=["pretrained", "random"], seeds=2, labels=[30], baselines=[])
    compare(small_experiment(on_nan="skip"), comparison, tmp_path, vectorize="auto")
    said = lines(capsys)
    reason = "one seed after another: on_nan skip leaves out the updates of one seed"
    assert [line for line in said if "one seed after another" in line] == [
        f"pretraining  {reason}",
        f"pretrained  {reason}",
    ]
    order = [match["seed"] for line in said if (match := ROW.fullmatch(line))]
    assert order == ["0", "0", "1", "1"]


def trials(comparison, count):
    return [Trial(small_experiment(finetune=FineTuning(1 + k, 16)), settings={"epochs": k}) for k in range(count)]


def test_with_a_grid_on_one_division_the_first_seed_runs_alone_before_the_others(tmp_path, capsys):
    comparison = Comparison(
        arms=["random"], seeds=3, labels=[30], baselines=[], splits="fixed", grid={"finetune.epochs": [1, 2]}
    )
    compare(small_experiment(), comparison, tmp_path, trials=trials(comparison, 2), vectorize="on")
    rows = [match["seed"] for line in lines(capsys) if (match := ROW.fullmatch(line))]
    assert rows == ["1", "2", "0"]  # seed 0 is told last: the others ask for its choice
    found = {json.dumps(row.hyperparameters) for row in read_rows(tmp_path / "results.csv")}
    assert len(found) == 1


LONGER = {"arms": ["random-longer"], "longer_by": "seconds"}
GRID = {"grid": {"finetune.epochs": [1, 2]}}


@pytest.mark.parametrize(
    ("options", "workers", "message"),
    [
        ({}, Workers(), None),
        (LONGER, Workers(), r"compare\.longer_by seconds needs the time of each seed by itself\. Use steps, or --v"),
        ({**LONGER, "longer_by": "steps"}, Workers(), None),
        ({"longer_by": "seconds"}, Workers(), None),
        (
            {**LONGER, "arms": ["random", "random-longer"]},
            Workers(),
            r"compare\.longer_by seconds needs the time of each seed by itself\. Use steps, or --v",
        ),
        (
            GRID,
            Workers(),
            r"with compare\.grid every seed chooses its own settings\. Use compare\.splits fixed, or --v",
        ),
        ({**GRID, "splits": "fixed"}, Workers(), None),
        ({}, Workers(2), "several workers share the seeds. Use one worker, or --vectorize auto."),
    ],
)
def test_seeds_are_trained_at_once_where_the_options_allow_it(options, workers, message, tmp_path):
    count = 2 if "grid" in options else 1
    bench = small_bench(tmp_path, trials=trials(options, count), **options)
    cells = [Cell(arm, seed, 30) for arm in bench.comparison.arms for seed in (0, 1)]
    assert module._may_vectorize(bench, cells, workers, "off") is False
    assert module._may_vectorize(bench, cells, workers, "auto") is (message is None)
    if message is None:
        assert module._may_vectorize(bench, cells, workers, "on") is True
        return
    with pytest.raises(ConfigError, match=f"^--vectorize on: {message}"):
        module._may_vectorize(bench, cells, workers, "on")


@pytest.mark.parametrize(
    ("workers", "tuned", "groups"),
    [
        (Workers(), False, [[0], [1], [2]]),
        (Workers(), True, [[0], [1], [2]]),
        (Workers(2), False, [[0, 1, 2]]),
        (Workers(2), True, [[0], [1, 2]]),
    ],
)
def test_workers_share_all_seeds_but_for_one_that_chooses_for_the_others(workers, tuned, groups):
    assert list(module._seed_groups(Comparison(seeds=3), workers, tuned=tuned)) == groups


def test_only_what_the_cells_need_is_pretrained(tmp_path):
    bench = small_bench(tmp_path, control=small_experiment(wide_layer))
    needs = {"pretrained": [(1, False)], "random": [], "probe": [(1, False)], "random-longer": [(1, False)],
             "control-pretrained": [(1, True)], "control-random": [], "knn": []}  # fmt: skip
    for arm, jobs in needs.items():
        assert module._pretrainings(bench, [Cell(arm, 1, 30), Cell(arm, 1, None)]) == jobs, arm
    cells = [Cell("control-pretrained", 2, 30), Cell("probe", 2, 30), Cell("pretrained", 0, 30)]
    assert module._pretrainings(bench, cells) == [(0, False), (2, False), (2, True)]
    bench.pretrain(2, control=False)
    assert module._pretrainings(bench, cells) == [(0, False), (2, True)]
