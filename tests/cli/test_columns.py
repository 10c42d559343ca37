"""A run knows its columns by name, wherever they lie in a file later."""

import json

import numpy as np
import pytest
import torch
import yaml

from aepretrain import DataError, ParquetFolder, load_encoder
from aepretrain.cli.main import main

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["height", "width", "depth", "mass", "age"]
GENERATOR = np.random.default_rng(0)
Y = np.arange(400) % 3
X = (GENERATOR.normal(size=(400, 5)) + Y[:, None] * np.array([2, -2, 0, 0, 1])) * np.array([1, 50, 0.1, 9, 3])
TABLE = {**{name: X[:, k].astype(np.float32) for k, name in enumerate(NAMES)}, "kind": Y}


def write(path, names, table=TABLE):
    pq.write_table(pa.table({name: table[name] for name in names}), path)


@pytest.fixture(scope="module", params=["none", "standardize"])
def finished(request, tmp_path_factory):
    """A run on a table, and its file."""
    folder = tmp_path_factory.mktemp("columns")
    write(folder / "x.parquet", [*NAMES, "kind"])
    data = {"root": str(folder / "x.parquet"), "target": "kind", "cache": str(folder / "cache")}
    layer = {"coder": {"class_path": "Dense", "init_args": {"features": 8}}}
    config = {
        "layers": [{"class_path": "PlainAutoencoder", "init_args": layer}],
        "data": {"class_path": "ParquetFolder", "init_args": {**data, "transform": request.param}},
        "pretrain": {"epochs": 2},
        "finetune": {"epochs": 40},
        "report": False,
        "loggers": [],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(folder / "config.yaml"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def table(finished):
    """The file of the run, which is put back as it was."""
    yield finished / "x.parquet"
    write(finished / "x.parquet", [*NAMES, "kind"])


def accuracy(folder):
    return f"{json.loads((folder / 'run' / 'results.json').read_text())['classifier']['test']['accuracy']:.2%}"


def test_a_run_keeps_the_names_of_its_columns_beside_the_encoder(finished):
    encoder = load_encoder(finished / "run" / "encoder")
    assert encoder.columns == NAMES
    readme = (finished / "run" / "encoder" / "README.md").read_text()
    assert "| columns | height, width, depth, mass, age |" in readme
    resolved = yaml.safe_load((finished / "run" / "config.yaml").read_text())
    assert resolved["data"]["init_args"]["columns"] == NAMES


def test_the_encoder_takes_the_raw_table(finished):
    data = ParquetFolder(str(finished / "x.parquet"), "kind", cache=str(finished / "cache"))
    raw = data.splits().validation.x
    encoder = load_encoder(finished / "run" / "encoder")
    kept = np.load(finished / "run" / "stages" / "inputs.npz")["inputs"]
    assert torch.equal(encoder.transform(raw), torch.from_numpy(kept))
    codes = np.load(finished / "run" / "stages" / "00-plain" / "samples.npz")["codes"]
    assert torch.equal(encoder(raw), torch.from_numpy(codes))


@pytest.mark.parametrize("order", [[*reversed(NAMES), "kind"], ["kind", "mass", "height", "age", "width", "depth"]])
def test_columns_that_changed_places_are_found_by_name(order, finished, table, capsys):
    write(table, order)
    assert main(["evaluate", str(finished / "run")]) == 0
    shown = capsys.readouterr().out
    assert accuracy(finished) in shown
    assert "warning" not in shown


def test_a_column_that_is_missing_is_refused_by_name(finished, table, capsys):
    write(table, ["age", "mass", "kind", "height", "width"])
    assert main(["evaluate", str(finished / "run")]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "x.parquet has no column 'depth'. It has age, mass, kind, height, width. Add the column to the file" in said


def test_columns_that_the_run_did_not_see_are_ignored_with_a_warning(finished, table, capsys):
    more = {**TABLE, "note": np.array(["a"] * 400), "price": np.ones(400)}
    write(table, ["note", "depth", "age", "mass", "kind", "height", "price", "width"], more)
    assert main(["evaluate", str(finished / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert accuracy(finished) in shown
    assert "warning: ParquetFolder ignores columns that the run was not trained on: note, price" in shown


def test_the_resolved_config_gives_the_same_encoder_where_columns_changed_places(finished, table, tmp_path):
    write(table, ["kind", *reversed(NAMES)])
    assert main(["fit", "--config", str(finished / "run" / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
    for name in ("encoder.safetensors", "config.json"):
        first, second = ((folder / "encoder" / name).read_bytes() for folder in (finished / "run", tmp_path / "again"))
        assert first == second


def test_other_rows_are_scaled_by_what_the_run_learnt(finished, table, capsys):
    """All values 100 times as large: if the transform were fitted again, the loss would be the same."""
    write(table, [*NAMES, "kind"], {name: values * 100 if name != "kind" else values for name, values in TABLE.items()})
    assert main(["evaluate", str(finished / "run")]) == 3
    assert "the inputs (other values) changed" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", str(finished / "run"), "--other_data"]) == 0
    results = json.loads((finished / "run" / "results.json").read_text())
    assert f"{results['classifier']['test']['loss']:.4f}" not in capsys.readouterr().out


def test_a_column_that_became_a_list_is_refused(finished, table, capsys):
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(1200, np.float32)), 3)
    pq.write_table(pa.table({**TABLE, "mass": wide}), table)
    assert main(["evaluate", str(finished / "run")]) != 0
    assert "shape (7,)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("kinds", [(10, 20, 30), ("a", "b", "c"), (0, 1, 0)])
def test_labels_of_other_classes_are_refused(kinds, finished, table, capsys):
    """Else a class would be compared with the number that another class had."""
    write(table, [*NAMES, "kind"], {**TABLE, "kind": np.array(kinds)[Y]})
    assert main(["evaluate", str(finished / "run")]) == 3
    changed = (
        "the labels (other values)" if kinds == (0, 1, 0) else f"the class names ({', '.join(map(str, kinds))} added)"
    )
    assert f"{changed} changed" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", str(finished / "run"), "--other_data"]) == 3
    assert "was trained on 3 classes numbered from 0" in " ".join(capsys.readouterr().err.split())


def test_names_of_classes_reach_the_results_and_the_encoder(finished, tmp_path, capsys):
    write(tmp_path / "x.parquet", [*NAMES, "kind"], {**TABLE, "kind": np.array(["fig", "kiwi", "lime"])[Y]})
    words = ["--data.root", str(tmp_path / "x.parquet"), "--finetune.epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["fit", "--config", str(finished / "config.yaml"), *words]) == 0
    facts = json.loads((tmp_path / "run" / "results.json").read_text())["data"]
    assert (facts["classes"], facts["class_names"]) == (3, ["fig", "kiwi", "lime"])
    assert load_encoder(tmp_path / "run" / "encoder").class_names == ["fig", "kiwi", "lime"]
    assert "data: the labels name 3 classes, numbered from 0 in this order: fig, kiwi, lime." in capsys.readouterr().out


def test_a_source_gives_columns_in_the_order_that_is_asked_for(tmp_path):
    write(tmp_path / "x.parquet", [*NAMES, "kind"])
    settings = {"cache": str(tmp_path / "cache"), "validation": 9, "test": 9}
    for order in (NAMES, NAMES[::-1], ["mass", "age"]):
        data = ParquetFolder(str(tmp_path / "x.parquet"), "kind", columns=order, **settings)
        expected = np.stack([TABLE[name] for name in order], axis=1)
        assert torch.equal(data.read()[0][:], torch.from_numpy(expected))
        assert data.unused == [name for name in NAMES if name not in order]
    for order, message in [
        (["age", "mass", "age"], "'age' is there twice"),
        (["age", "kind"], "'kind' holds the labels"),
    ]:
        with pytest.raises(DataError, match=message):
            ParquetFolder(str(tmp_path / "x.parquet"), "kind", columns=order, **settings)
    with pytest.raises(DataError, match=r"has no column 'sort'.* Add the column to the file"):
        ParquetFolder(str(tmp_path / "x.parquet"), "kind", columns=["sort"], **settings)


def test_the_fingerprint_is_of_the_columns_in_the_order_that_is_asked_for(tmp_path):
    write(tmp_path / "x.parquet", [*NAMES, "kind"])
    settings = {"target": "kind", "cache": str(tmp_path / "cache"), "validation": 9, "test": 9}
    before = ParquetFolder(str(tmp_path / "x.parquet"), **settings).fingerprint()
    assert before.columns == tuple(NAMES)
    write(tmp_path / "x.parquet", ["kind", *reversed(NAMES)])
    named = ParquetFolder(str(tmp_path / "x.parquet"), columns=NAMES, **settings).fingerprint()
    assert named == before
    as_they_lie = ParquetFolder(str(tmp_path / "x.parquet"), **settings).fingerprint()
    words = ["the column names (in another order)", "the inputs (other values)"]
    assert before.changes(as_they_lie) == words
    write(tmp_path / "x.parquet", [*NAMES, "kind"], {**TABLE, "kind": (Y + 1) % 3})
    assert before.changes(ParquetFolder(str(tmp_path / "x.parquet"), **settings).fingerprint()) == [
        "the labels (other values)"
    ]


def test_a_run_of_a_version_that_wrote_no_columns_down_may_go_on(finished, tmp_path):
    from aepretrain.cli.resume import changed_keys

    text = (finished / "run" / "config.yaml").read_text()
    before = yaml.safe_load(text)
    before["data"]["init_args"]["columns"] = None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(before))
    assert changed_keys(tmp_path, text) == []
    other = yaml.safe_load(text)
    other["data"]["init_args"]["columns"] = NAMES[::-1]
    assert changed_keys(finished / "run", yaml.safe_dump(other)) == ["data.init_args.columns"]
