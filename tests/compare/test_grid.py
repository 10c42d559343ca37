"""The settings of a grid: who searches, what wins, and what a search that was interrupted leaves."""

from dataclasses import replace
from functools import partial

import pytest
from torch.optim import SGD, Adam

from aepretrain import Classifier, DivergedError, StorageError
from aepretrain.compare import Cell, Trial
from aepretrain.results.cell import CellResult
from tests.support.comparisons import small_bench, small_experiment


def rated(*rates):
    """Trials that differ in the learning rate."""
    classifiers = [partial(Classifier, optimizer=partial(Adam, lr=rate)) for rate in rates]
    return [
        Trial(small_experiment(classifier=make), settings={"lr": rate, "dropout": 0.0})
        for make, rate in zip(classifiers, rates, strict=True)
    ]


BEST = {"lr": 0.1, "dropout": 0.0}


def bits(folder):
    """The weights of a finished cell."""
    return (folder / "stages" / "classifier" / "model.safetensors").read_bytes()


def put_row(bench, row):
    """Write the row of a cell that was run."""
    folder = bench.runs / "random-30-seed0"
    folder.mkdir(parents=True)
    row.write(folder / "row.json")


@pytest.mark.parametrize(
    ("rates", "splits", "tunes"),
    [
        ((0.1,), "fixed", False),
        ((0.1,), "per-seed", False),
        ((0.1, 0.2), "fixed", False),
        ((0.1, 0.2), "per-seed", True),
    ],
)
def test_every_seed_chooses_for_itself_if_its_division_is_its_own(rates, splits, tunes, tmp_path):
    assert small_bench(tmp_path, trials=rated(*rates), splits=splits).tunes_every_seed is tunes


@pytest.mark.parametrize("splits", ["fixed", "per-seed"])
def test_a_grid_is_searched_by_the_seeds_that_must_and_the_others_take_its_choice(splits, tmp_path):
    bench = small_bench(tmp_path, trials=rated(1e-9, 0.1), splits=splits)
    rows = [bench.run(Cell("random", seed, 30)) for seed in (0, 1)]
    assert [row.hyperparameters for row in rows] == [BEST] * 2
    searched = [(bench.runs / f"random-30-seed{seed}" / "trials").is_dir() for seed in (0, 1)]
    assert searched == [True, splits == "per-seed"]
    assert [path.name for path in (bench.runs / "random-30-seed0" / "trials").iterdir()] == ["0"]
    alone = small_bench(tmp_path / "alone", trials=rated(0.1), splits=splits)
    alone.run(Cell("random", 1, 30))
    assert bits(bench.runs / "random-30-seed1") == bits(alone.runs / "random-30-seed1")


def test_the_first_of_the_best_settings_wins(tmp_path):
    bench = small_bench(tmp_path, trials=rated(0.1, 0.1))
    bench.run(Cell("random", 0, 30))
    assert [path.name for path in (bench.runs / "random-30-seed0" / "trials").iterdir()] == ["1"]


def test_a_search_that_a_kill_left_half_moved_begins_again(tmp_path):
    whole = small_bench(tmp_path / "whole", trials=rated(1e-9, 0.1))
    row = whole.run(Cell("random", 0, 30))
    broken = small_bench(tmp_path / "broken", trials=rated(1e-9, 0.1))
    folder = broken.runs / "random-30-seed0"
    (folder / "trials" / "0").mkdir(parents=True)
    (folder / "stages").mkdir()
    (folder / "stages" / "left").write_text("old")
    again = broken.run(Cell("random", 0, 30))
    assert replace(again, seconds=row.seconds) == row
    assert bits(folder) == bits(whole.runs / "random-30-seed0")
    assert not (folder / "stages" / "left").exists()


def interrupted(encoder, classes):
    raise KeyboardInterrupt


def test_a_search_that_was_interrupted_keeps_the_settings_that_it_tried(tmp_path):
    whole, (first, second) = small_bench(tmp_path / "whole"), rated(1e-9, 0.1)
    stops = Trial(small_experiment(classifier=interrupted), settings=second.settings)
    folder = whole.runs / "random-30-seed0"
    with pytest.raises(KeyboardInterrupt):
        replace(whole, trials=[first, stops]).run(Cell("random", 0, 30))
    assert [path.name for path in folder.iterdir()] == ["trials"]
    weights = folder / "trials" / "0" / "stages" / "classifier" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert replace(whole, trials=[first, second]).run(Cell("random", 0, 30)).hyperparameters == BEST
    assert weights.stat().st_mtime_ns == before


def test_settings_that_diverge_lose_and_are_told_if_all_do(tmp_path):
    (good,) = rated(0.1)
    endless = partial(Classifier, optimizer=partial(SGD, lr=1e30))
    bad = Trial(small_experiment(classifier=endless), settings={"lr": 1e30})
    bench = small_bench(tmp_path, trials=[bad, good, bad])
    assert bench.run(Cell("random", 0, 30)).hyperparameters == BEST
    with pytest.raises(DivergedError, match=r"^random-30-seed1: every combination of compare\.grid diverged\. Try"):
        replace(bench, trials=[bad, bad]).run(Cell("random", 1, 30))
    with pytest.raises(DivergedError, match=r"^classifier: "):
        replace(bench, trials=[bad]).run(Cell("random", 2, 30))


def test_a_choice_that_the_grid_lacks_is_refused(tmp_path):
    bench = small_bench(tmp_path, trials=rated(1e-9, 0.1), splits="fixed")
    put_row(bench, CellResult("random", 0, 30, 0.5, 0.5, hyperparameters={"lr": 0.2}))
    with pytest.raises(
        StorageError, match=r"random-30-seed0/row\.json names settings that compare\.grid does not hold"
    ):
        bench.run(Cell("random", 1, 30))
