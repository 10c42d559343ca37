"""A bench runs each cell with the network, the data and the settings that its name says, and reads what is there."""

from dataclasses import replace

import pytest
import torch
import yaml

from aepretrain import FineTuning, Pretraining, RunContext, StorageError, load_encoder
from aepretrain.compare import Cell, Trial
from aepretrain.compare.arms import ARMS
from aepretrain.finetuning.finetune import finetune
from aepretrain.results.cell import CellResult
from aepretrain.results.run import RunResult
from tests.support.comparisons import CONFIG, WITH_CONFIG, layer, small_bench, small_data, small_experiment, wide_layer


def put_row(bench, row):
    """Write the row of a cell that was run."""
    folder = bench.runs / "random-30-seed0"
    folder.mkdir(parents=True)
    row.write(folder / "row.json")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A bench, and the rows of a cell of every arm without the control."""
    bench = small_bench(tmp_path_factory.mktemp("bench"), tracking=WITH_CONFIG, seeds=2, baselines=["knn"])
    cells = [Cell(arm, 1, 30) for arm in ("pretrained", "random", "probe", "random-longer", "knn")]
    return bench, {cell.arm: bench.run(cell) for cell in cells}


@pytest.mark.parametrize("arm", ["pretrained", "random", "probe", "random-longer", "knn"])
def test_the_row_of_a_cell_is_that_of_its_results_and_is_read_again(arm, ran):
    bench, rows = ran
    cell, row = Cell(arm, 1, 30), rows[arm]
    assert (row.arm, row.seed, row.labels) == (arm, 1, 30)
    assert row.data == small_data().fingerprint().digest
    assert bench.finished(cell) == row == CellResult.read(bench.runs / cell.name / "row.json")
    if arm == "knn":
        assert not (bench.runs / cell.name / "results.json").exists()
        assert (row.epochs, row.steps) == (None, None)
        return
    found = RunResult.read(bench.runs / cell.name / "results.json")
    classifier = found.classifier
    assert (row.validation_accuracy, row.test_accuracy) == (classifier.validation.accuracy, classifier.test.accuracy)
    assert (row.epochs, row.steps, row.seconds) == (classifier.epochs, classifier.steps, classifier.seconds)
    assert row.hyperparameters == found.hyperparameters == ({"budget": "2x"} if arm == "random-longer" else {})
    assert classifier.frozen_encoder is (arm == "probe")
    assert classifier.weights_arrived is (True if arm in ("pretrained", "probe") else None)
    assert (found.seed, found.stages) == (1, ())
    assert found.warnings is not None


def test_a_finished_cell_is_not_run_again(ran, monkeypatch):
    bench, rows = ran
    before = {path: path.stat().st_mtime_ns for path in bench.runs.rglob("*")}
    for arm, row in rows.items():
        assert bench.run(Cell(arm, 1, 30)) == row
    assert {path: path.stat().st_mtime_ns for path in bench.runs.rglob("*")} == before
    assert bench.is_pretrained(1, control=False)
    assert not bench.is_pretrained(0, control=False)
    assert not bench.is_pretrained(1, control=True)


def test_every_run_has_a_config_that_repeats_it_and_says_whether_it_pretrains(ran):
    bench, rows = ran
    for arm in rows.keys() - {"knn"}:
        text = (bench.runs / f"{arm}-30-seed1" / "config.yaml").read_text()
        pretrains = "fit trains it again." if ARMS[arm].pretrained else "fit would pretrain it, which this arm was not."
        assert text.startswith(f"# {arm}-30-seed1 of a comparison: {pretrains}\n")
        found = yaml.safe_load(text)
        assert found.keys() == CONFIG.keys() - {"compare", "control"}
        assert (found["seed"], found["data"]) == (1, {"init_args": {"labels": 30, "split_seed": 1}})
        assert found["classifier"] == ({"freeze_encoder": True} if arm == "probe" else {})
    text = (bench.runs / "pretraining-seed1" / "config.yaml").read_text()
    assert text.startswith("# pretraining-seed1 of a comparison: fit trains it again.\n")
    assert yaml.safe_load(text)["data"] == {"init_args": {"labels": None, "split_seed": 1}}
    assert not (bench.runs / "knn-30-seed1" / "config.yaml").exists()


def test_a_comparison_from_python_has_no_config_to_write(tmp_path):
    bench = small_bench(tmp_path, splits="fixed")
    bench.run(Cell("random", 0, 30))
    assert not (bench.runs / "random-30-seed0" / "config.yaml").exists()
    given = small_bench(tmp_path / "given", splits="fixed", tracking=WITH_CONFIG)
    given.run(Cell("random", 0, 30))
    text = (given.runs / "random-30-seed0" / "config.yaml").read_text()
    assert "split_seed" not in text


@pytest.mark.parametrize("splits", ["fixed", "per-seed"])
@pytest.mark.parametrize("arm", ARMS)
def test_the_experiment_of_a_cell_has_its_network_seed_budget_and_division(arm, splits, tmp_path):
    control = small_experiment(wide_layer)
    bench = small_bench(tmp_path, control=control, splits=splits)
    found = bench.network(ARMS[arm], Cell(arm, 3, 9), bench.trials[0])
    assert found.layers == [wide_layer if arm.startswith("control") else layer]
    assert (found.seed, len(found.data.splits(3).train)) == (3, 9)
    division = small_data().with_split(3) if splits == "per-seed" else small_data()
    assert torch.equal(found.data.splits(3).test.x, division.splits(3).test.x)
    encoder = found.build_stack().encoder
    assert found.build_classifier(encoder).freeze_encoder is (arm == "probe")


@pytest.mark.parametrize("wrong", [("probe", 0, 30), ("random", 1, 30), ("random", 0, 31)])
def test_the_row_of_another_cell_is_refused(wrong, tmp_path):
    bench = small_bench(tmp_path)
    assert bench.finished(Cell("random", 0, 30)) is None
    put_row(bench, CellResult(*wrong, 0.5, 0.5))
    with pytest.raises(StorageError, match=r"random-30-seed0/row\.json is the row of another cell"):
        bench.finished(Cell("random", 0, 30))


def test_the_stack_of_a_seed_is_that_of_a_run_of_its_own(tmp_path, capsys):
    bench = small_bench(tmp_path, control=small_experiment(wide_layer), tracking=WITH_CONFIG)
    for control, own in ((False, layer), (True, wide_layer)):
        assert bench.pretrain_job((2, control)) == (2, control)
        assert bench.is_pretrained(2, control)
        folder = bench.pretrain(2, control=control)
        name = f"pretraining{'-control' if control else ''}-seed2"
        assert folder == bench.runs / name / "encoder"
        assert bench.name_of_pretraining((2, control)) == name
        alone = small_experiment(own, seed=2, data=small_data().with_split(2))
        (tmp_path / name).mkdir()
        stack, _ = alone.pretrain_stack(tmp_path / name)
        expected = stack.encoder.state_dict()
        for key, weights in load_encoder(folder).layers.state_dict().items():
            assert torch.equal(weights, expected[key])
        config = yaml.safe_load((bench.runs / name / "config.yaml").read_text())
        assert config["layers"] == ["b" if control else "a"]
        before = (bench.runs / name / "results.json").stat().st_mtime_ns
        assert bench.pretrain_job((2, control)) == (2, control)
        assert (bench.runs / name / "results.json").stat().st_mtime_ns == before
    assert "cannot be checked" not in capsys.readouterr().out


@pytest.mark.parametrize("longer_by", ["steps", "seconds"])
def test_longer_training_has_the_compute_of_all_stages_too_and_looks_at_validation_as_often(longer_by, tmp_path):
    two_layers = small_experiment(layer, wide_layer, finetune=FineTuning(4, 16, validate_every=2))
    bench = small_bench(tmp_path, trials=[Trial(two_layers)], longer_by=longer_by)
    bench.pretrain(0, control=False)
    path = bench.runs / "pretraining-seed0" / "results.json"
    found = RunResult.read(path)
    assert [stage.steps for stage in found.stages] == [3, 3]  # 36 examples in batches of 16
    if longer_by == "seconds":
        random = bench.run(Cell("random", 0, 30))
        stages = [replace(stage, seconds=1.5 * random.seconds) for stage in found.stages]
        replace(found, stages=tuple(stages)).write(path)
    row = bench.run(Cell("random-longer", 0, 30))
    times = {"steps": 1 + 1, "seconds": 1 + 3}[longer_by]  # 30 labels make 4 epochs of 2 steps
    assert row.hyperparameters == {"budget": f"{times}x"}
    assert (row.epochs, row.steps) == (times * 4, times * 4 * 2)
    metrics = (bench.runs / "random-longer-30-seed0" / "metrics.jsonl").read_text()
    assert metrics.count('"val/accuracy"') == 2


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"steps": 6}, True),
        ({"steps": 7}, False),
        ({"seconds": 0.0}, True),
        ({"seconds": -1.0}, False),
        ({"seconds": 366 * 24 * 3600.0}, True),
        ({"seconds": 366 * 24 * 3600.0 + 1}, False),
    ],
)
def test_pretraining_cannot_have_taken_more_than_was_asked_for(changes, fits, tmp_path):
    bench = small_bench(tmp_path, trials=[Trial(small_experiment(pretrain=Pretraining(2, 16)))])
    bench.pretrain(0, control=False)
    path = bench.runs / "pretraining-seed0" / "results.json"
    found = RunResult.read(path)
    replace(found, stages=(replace(found.stages[0], **changes),)).write(path)
    if fits:
        assert bench.run(Cell("random-longer", 0, 30)).hyperparameters["budget"] in ("2x", "3x")
        return
    with pytest.raises(StorageError, match=r"records \d steps of pretraining in .* asks for at most 6 steps"):
        bench.run(Cell("random-longer", 0, 30))


@pytest.mark.parametrize("gone", [{"seconds": None}, {"epochs": None}, {"seconds": 0.0}, {"epochs": 0}])
def test_the_time_of_random_must_be_known_to_add_seconds_to_it(gone, tmp_path):
    bench = small_bench(tmp_path, longer_by="seconds")
    random = bench.run(Cell("random", 0, 30))
    replace(random, **gone).write(bench.runs / "random-30-seed0" / "row.json")
    with pytest.raises(
        StorageError, match=r"random-30-seed0/row\.json lacks the seconds and epochs of a trained network"
    ):
        bench.run(Cell("random-longer", 0, 30))


def test_a_classifier_that_is_trained_already_is_measured_and_not_trained(tmp_path):
    bench, longer = small_bench(tmp_path), small_experiment(finetune=FineTuning(5, 16))
    classifier = longer.build_classifier(longer.build_stack().encoder)
    tuned = finetune(classifier, longer.data, longer.finetune, RunContext(progress=False))
    assert bench.run(Cell("random", 0, 30), tuned).epochs == 5
