"""A comparison goes on with the data it was started on, and with no others."""

import json
import shutil

import pytest

from aepretrain import Arrays, DataError, Dense, Experiment, FineTuning, PlainAutoencoder, Pretraining
from aepretrain.cli.main import main
from aepretrain.compare import Bench, Cell, Comparison, Trial, compare
from aepretrain.compare.data_record import check_recorded, has_data, record_data
from aepretrain.results.cell import CellResult
from aepretrain.results.run import DataFacts
from tests.support.records import run_result
from tests.support.tables import X, Y, changed, save, write_config

COMPARE = {"seeds": 2, "labels": [30], "arms": ["pretrained", "random"], "baselines": ["knn"]}
ONE_LAYER = {"coder": {"class_path": "Dense", "init_args": {"features": 4}}}


def command(folder, out, *more):
    layers = [{"class_path": "PlainAutoencoder", "init_args": ONE_LAYER}]
    config = write_config(folder, compare=COMPARE, layers=layers, pretrain={"epochs": 1}, finetune={"epochs": 1})
    return ["compare", "--config", str(config), "--out", str(out), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    save(folder)
    assert main(command(folder, folder / "out")) == 0
    return folder


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the comparison; the data are put back afterwards."""
    shutil.copytree(finished / "out", tmp_path / "out")
    yield tmp_path / "out"
    save(finished)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (X, changed(Y, slice(30), 1), "the labels (other values) changed"),
        (changed(X, slice(20), 0.5), Y, "the inputs (other values) changed"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--compare.seeds", "3")])
def test_a_file_that_was_mended_is_refused_and_the_old_table_is_untouched(x, y, named, more, finished, out, capsys):
    save(finished, x, y)
    before = contents(out)
    assert main(command(finished, out, *more)) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert f"{out} was made with other data than MappedArray in {finished / 'x.npy'}" in said
    assert named in said
    assert said.endswith("Put the old data back to go on, or start a new comparison by another --out.")
    assert contents(out) == before


@pytest.mark.parametrize("left", ["random-30-seed1", "knn-30-seed0", "pretraining-seed0"])
def test_a_cell_of_other_data_is_refused_by_itself(left, finished, out, capsys):
    """Also without the comparison's own record: a folder that was copied from another comparison."""
    (out / "data.json").unlink()
    for path in (out / "runs").iterdir():
        if path.name != left:
            shutil.rmtree(path)
    save(finished, changed(X, 3, 0.5))
    assert main(command(finished, out)) == 3
    assert f"{out / 'runs' / left} was made with other data" in " ".join(capsys.readouterr().err.split())


def test_another_memory_budget_goes_on_with_the_same_table(finished, out):
    assert main(command(finished, out, "--data.memory_budget", "4kB")) == 0
    assert (out / "results.csv").read_bytes() == (finished / "out" / "results.csv").read_bytes()


def test_a_comparison_of_a_version_that_recorded_no_data_goes_on_and_says_so(finished, out, capsys):
    (out / "data.json").unlink()
    for path in (out / "runs").glob("*/*.json"):
        values = json.loads(path.read_text())
        if path.name == "row.json":
            del values["data"]
        elif path.name == "results.json":
            del values["data"]["fingerprint"]
        elif path.name == "state.json":
            del values["data"]
        path.write_text(json.dumps(values))
    assert main(command(finished, out)) == 0
    assert "whether they changed since cannot be checked" in " ".join(capsys.readouterr().out.split())
    assert (out / "results.csv").read_bytes() == (finished / "out" / "results.csv").read_bytes()
    assert (out / "data.json").is_file()


def experiment(data):
    lengths = {"pretrain": Pretraining(epochs=1), "finetune": FineTuning(epochs=1), "report": False}
    return Experiment([lambda shape: PlainAutoencoder(shape, Dense(4))], data, **lengths)


def test_a_comparison_from_python_is_held_to_its_data_too(tmp_path):
    comparison = Comparison(arms=["random"], seeds=1, baselines=[])
    compare(experiment(Arrays(X, Y)), comparison, tmp_path)
    with pytest.raises(DataError, match=r"Arrays: the labels \(other values\) changed"):
        compare(experiment(Arrays(X, changed(Y, 7, 2))), comparison, tmp_path)


def test_the_first_data_of_a_comparison_are_recorded_and_no_others(tmp_path, capsys):
    data, others = Arrays(X, Y), Arrays(changed(X, 3, 0.5), Y)
    check_recorded(tmp_path, data)
    assert (has_data(tmp_path), capsys.readouterr().out) == (False, "")
    record_data(tmp_path, data)
    record_data(tmp_path, others)
    assert has_data(tmp_path)
    check_recorded(tmp_path, data)
    assert capsys.readouterr().out == ""
    with pytest.raises(DataError, match=rf"^{tmp_path} was made with other data.*inputs.*Put the old data back to go"):
        check_recorded(tmp_path, others)


def make_run(path, fingerprint):
    facts = DataFacts("Arrays", (5,), 3, 120, 30, 40, 40, fingerprint=fingerprint)
    run_result(data=facts).write(path / "results.json")


def make_row(path, fingerprint):
    digest = None if fingerprint is None else fingerprint.digest
    CellResult("knn", 0, 30, 0.5, 0.5, data=digest).write(path / "row.json")


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("make", [make_run, make_row])
def test_every_run_and_row_is_checked_and_data_that_were_not_recorded_are_told(make, recorded, tmp_path, capsys):
    data, others = Arrays(X, Y), Arrays(changed(X, 3, 0.5), Y)
    for name, fingerprint in (("a", data.fingerprint()), ("b", None)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        make(tmp_path / "runs" / name, fingerprint)
    if recorded:
        record_data(tmp_path, data)
    check_recorded(tmp_path, data)
    told = " ".join(capsys.readouterr().out.split())
    assert ("whether they changed since cannot be checked" in told) is not recorded
    make(tmp_path / "runs" / "b", others.fingerprint())
    with pytest.raises(DataError, match=rf"{tmp_path}/runs/b was made with other data than Arrays.*Put the old data"):
        check_recorded(tmp_path, data)


def test_a_worker_that_loads_other_data_does_not_run_its_cell(tmp_path):
    before = Arrays(X, Y).fingerprint()
    bench = Bench(Comparison(), [Trial(experiment(Arrays(changed(X, 3, 0.5), Y)))], tmp_path / "runs", data=before)
    for job, argument in ((bench.cell_job, Cell("random", 0, None)), (bench.pretrain_job, (0, False))):
        with pytest.raises(DataError, match="the inputs"):
            job(argument)
    assert not (tmp_path / "runs").exists()
