"""Loggers of the runs of a comparison get every epoch once, and the outcome, however the seeds were trained."""

import shutil

import pytest

from aepretrain.compare import Cell
from aepretrain.compare.cell_directories import SeedGroup
from aepretrain.results.records import write_record
from aepretrain.tracking import comparison
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.run import TrackedRun
from aepretrain.tracking.wandb_run import artifact_name
from tests.support.comparisons import small_bench


def epochs_in_csv(folder, stage):
    """The number of epochs that the logger of a stage has."""
    path = folder / "csv" / stage / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


WITH_CSV = Tracking(loggers=("csv",))


def outcomes(monkeypatch):
    """What loggers are told at the end of runs from now on, by the name of the run."""
    told, log_outcome = {}, TrackedRun.log_outcome

    def watched(run, results, *, encoder=None):
        told[run.folder.name] = (results, encoder)
        log_outcome(run, results, encoder=encoder)

    monkeypatch.setattr(TrackedRun, "log_outcome", watched)
    return told


@pytest.mark.parametrize("together", [False, True])
def test_loggers_get_every_epoch_and_the_outcome_of_every_run(together, tmp_path, monkeypatch):
    bench, told = small_bench(tmp_path, tracking=WITH_CSV), outcomes(monkeypatch)
    cells = [Cell("pretrained", seed, 30) for seed in (0, 1)]
    if together:
        bench.pretrain_many([0, 1], control=False, vectorize="on")
        bench.run_many(cells)
    for seed, cell in enumerate(cells):
        bench.run(cell)
        pretraining = bench.runs / f"pretraining-seed{seed}"
        assert epochs_in_csv(pretraining, "00-denoising") == 1
        assert epochs_in_csv(bench.runs / cell.name, "classifier") == 2
        results, encoder = told[pretraining.name]
        assert encoder == pretraining / "encoder"
        assert (results.stages[0].stage, results.seed) == ("00-denoising", seed)
        results, encoder = told[cell.name]
        assert encoder is None
        assert results.classifier.test.accuracy == bench.finished(cell).test_accuracy


def test_the_facts_of_a_cell_name_its_arm_seed_labels_and_encoder(tmp_path, monkeypatch):
    told, open_run = {}, comparison.open_run

    def watched(tracking, folder, *, facts, **options):
        told[folder.name] = facts
        return open_run(tracking, folder, facts=facts, **options)

    monkeypatch.setattr(comparison, "open_run", watched)
    bench = small_bench(tmp_path)
    assert bench.tracking.loggers == ()
    bench.run(Cell("pretrained", 1, 30))
    bench.run(Cell("random", 0, None))
    own = {"arm": "pretrained", "seed": 1, "labels": 30}
    assert told.pop("pretrained-30-seed1") == {**own, "encoder": artifact_name(tmp_path.name, "pretraining-seed1")}
    assert told == {"pretraining-seed1": {"seed": 1}, "random-all-seed0": {"arm": "random", "seed": 0, "labels": None}}


@pytest.mark.parametrize("seeds", [[0, 1], [1, 2], None])
def test_pretraining_that_no_logger_followed_is_told_again_when_it_goes_on(seeds, tmp_path):
    bench = small_bench(tmp_path, tracking=WITH_CSV)
    bench.pretrain(0, control=False)
    folder = bench.runs / "pretraining-seed0"
    shutil.rmtree(folder / "csv")
    (folder / "results.json").unlink()
    if seeds is not None:
        write_record(bench.runs / "together.json", SeedGroup(seeds))
    bench.pretrain(0, control=False)
    assert epochs_in_csv(folder, "00-denoising") == (seeds == [0, 1])


def test_pretraining_that_begins_again_is_not_told_twice(tmp_path, monkeypatch):
    replayed = []
    monkeypatch.setattr(TrackedRun, "replay", lambda run: replayed.append(run.folder.name))
    bench = small_bench(tmp_path, tracking=WITH_CSV)
    bench.runs.mkdir()
    write_record(bench.runs / "together.json", SeedGroup([0, 1]))
    bench.pretrain(0, control=False)
    assert replayed == []
