"""Seeds that are trained at once find what each finds alone; what stands against it is told."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from aepretrain import load_encoder
from aepretrain.compare import Cell, Trial
from aepretrain.compare.arms import ARMS
from aepretrain.results.run import RunResult
from tests.support.comparisons import WITH_CONFIG, small_bench, small_experiment, wide_layer

WEIGHTS = "stages/classifier/model.safetensors"


@pytest.mark.parametrize("arm", ["random-longer", "probe", "control-pretrained"])
def test_seeds_that_are_trained_at_once_find_what_each_finds_alone(arm, tmp_path):
    control = small_experiment(wide_layer)
    alone, together = (
        small_bench(tmp_path / name, control=control, tracking=WITH_CONFIG) for name in ("alone", "together")
    )
    cells = [Cell(arm, seed, 30) for seed in (0, 1)]
    expected = [alone.run(cell) for cell in cells]
    assert together.reason_not_batched(cells, "on") is None
    assert together.pretrain_many([0, 1], control=ARMS[arm].control, vectorize="on") is True
    found = together.run_many(cells)
    assert [cell for cell, _ in found] == cells
    for (_, row), own in zip(found, expected, strict=True):
        assert (row.steps, row.epochs, row.hyperparameters) == (own.steps, own.epochs, own.hyperparameters)
        assert row.test_accuracy == pytest.approx(own.test_accuracy, abs=0.09)  # of 12 examples one may tip over
    names = {path.name for path in together.runs.iterdir()}
    assert not any(name.startswith("together") for name in names)
    for cell in cells:
        for name in (cell.name, together.name_of_pretraining((cell.seed, ARMS[arm].control))):
            own, both = ((bench.runs / name / "config.yaml").read_text() for bench in (alone, together))
            assert own.startswith(both)
            assert own.removeprefix(both).endswith(" took recorded steps\n")
        one, other = (load_encoder(bench.runs / name / "encoder").layers.state_dict() for bench in (alone, together))
        torch.testing.assert_close(one, other)
        weights = [load_file(bench.runs / cell.name / WEIGHTS) for bench in (alone, together)]
        torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_seeds_with_budgets_of_their_own_are_not_trained_at_once(tmp_path):
    bench = small_bench(tmp_path, longer_by="seconds")
    for seed, seconds in ((0, 1.0), (1, 9.0)):
        random = bench.run(Cell("random", seed, 30))
        replace(random, seconds=1.0).write(bench.runs / f"random-30-seed{seed}" / "row.json")
        bench.pretrain(seed, control=False)
        path = bench.runs / f"pretraining-seed{seed}" / "results.json"
        found = RunResult.read(path)
        replace(found, stages=(replace(found.stages[0], seconds=seconds),)).write(path)
    assert bench.run_many([Cell("random-longer", seed, 30) for seed in (0, 1)]) == []


def test_seeds_one_of_which_was_started_alone_go_on_alone(tmp_path):
    bench = small_bench(tmp_path)
    for name in ("pretraining-seed1", "random-30-seed1"):
        (bench.runs / name).mkdir(parents=True)
        (bench.runs / name / "state.json").write_text("{}")
    assert bench.pretrain_many([0, 1], control=False, vectorize="on") is False
    assert bench.run_many([Cell("random", seed, 30) for seed in (0, 1)]) == []


def test_what_stands_against_training_at_once_is_told_of_every_setting(tmp_path):
    slow = replace(small_experiment(), on_nan="skip")
    bench = small_bench(tmp_path, trials=[Trial(small_experiment()), Trial(slow)])
    cells = [Cell("random", seed, 30) for seed in (0, 1)]
    assert bench.reason_not_batched(cells, "auto") == "on_nan skip leaves out the updates of one seed"
    assert bench.reason_not_batched(cells, "off") == "vectorize is off"


def test_what_a_kill_leaves_of_seeds_together_is_removed_and_nothing_else(tmp_path):
    bench = small_bench(tmp_path)
    bench.runs.mkdir()
    left = ["together.json", "together-control.json", "together-random-30.json", "together-random-30.json.1.part"]
    for name in [*left, "other.json"]:
        (bench.runs / name).write_text("{}")
    bench.remove_groups()
    assert [path.name for path in bench.runs.iterdir()] == ["other.json"]
