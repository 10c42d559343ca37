"""A CSV goes to a trained run, to codes and to predictions; columns are found by name and unseen values are counted."""

import csv
import json

import numpy as np
import pytest
import yaml

from aepretrain import RunResult, load_autoencoder, load_encoder
from aepretrain.cli.main import main
from tests.support.tables import write_config

pytest.importorskip("pyarrow")

N = 150
GENERATOR = np.random.default_rng(0)
KINDS = np.arange(N) % 3
TABLE = {
    "mass": [f"{value:.2f}" if k % 9 else "" for k, value in enumerate(GENERATOR.normal(3000 + 900 * KINDS, 200))],
    "island": [("Biscoe", "Dream", "Torgersen")[k] for k in (KINDS + (GENERATOR.random(N) < 0.2)) % 3],
    "fed": [("no", "yes")[k] for k in GENERATOR.integers(0, 2, N)],
    "kind": [("owl", "rook", "swan")[k] if n % 5 else "" for n, k in enumerate(KINDS)],
}


def write(path, table):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def lines(capsys):
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def config(folder, **changes):
    arguments = {"root": write(folder / "birds.csv", TABLE), "target": "kind", "cache": str(folder / "cache")}
    layers = [{"class_path": f"{name}Autoencoder", "init_args": {"coder": dense(8)}} for name in ("Denoising", "Plain")]
    data = {"class_path": "Table", "init_args": arguments}
    fast = {"optimizer": {"class_path": "Adam", "init_args": {"lr": 0.05}}}
    settings = {"layers": layers, "classifier": fast, "finetune": {"epochs": 30}}
    return write_config(folder, data, **{**settings, **changes})


def dense(features):
    return {"class_path": "Dense", "init_args": {"features": features}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    assert main(["fit", "--config", str(config(folder)), "--out", str(folder / "run")]) == 0
    return folder


def test_the_resolved_config_names_columns_likelihood_and_noise(finished):
    resolved = yaml.safe_load((finished / "run" / "config.yaml").read_text())
    data, first, second = resolved["data"]["init_args"], *(each["init_args"] for each in resolved["layers"])
    assert data["features"] == ["mass", "island", "fed"]
    assert data["columns"] == {"mass": "numeric", "island": "category", "fed": "category"}
    sizes = {"gaussian": 1, "bernoulli": 1, "categorical": [4, 3]}
    assert first["likelihood"] == {"class_path": "aepretrain.Mixed", "init_args": sizes}
    assert first["corruption"]["class_path"] == "aepretrain.SwapNoise"
    assert first["corruption"]["init_args"]["groups"] == [4, 3]
    assert second["likelihood"]["class_path"].endswith("Gaussian")
    log = (finished / "run" / "train.log").read_text()
    assert "layers[0] takes what fits the columns, as none is named: Mixed(gaussian=1, bernoulli=1" in log
    assert RunResult.read(finished / "run" / "results.json").data.unlabelled > 100


@pytest.mark.parametrize("verb", ["encode", "predict"])
def test_a_table_without_rows_is_refused_in_one_line(verb, finished, tmp_path, capsys):
    empty = write(tmp_path / "empty.csv", {name: [] for name in TABLE})
    assert main([verb, str(finished / "run"), "--data", empty, "--out", str(tmp_path / "out.csv")]) == 3
    assert f"--data names {empty}, which has no rows" in lines(capsys)
    assert main(["init", "--data", empty, "--target", "kind", "--out", str(tmp_path / "new.yaml")]) == 3
    assert f"{empty} has no rows below the names of its columns" in lines(capsys)


@pytest.mark.parametrize("words", [["--layers.0.likelihood", "Gaussian"], ["--layers.0.init_args.likelihood=Gaussian"]])
def test_a_likelihood_that_is_named_is_kept(words, tmp_path, capsys):
    assert main(["validate", "--config", str(config(tmp_path)), *words]) == 0
    assert "layers[0] takes what fits the columns, as none is named: SwapNoise(p=0.15, groups=(4, 3))." in lines(capsys)


def test_the_control_network_and_every_trial_take_them_too(tmp_path, capsys):
    grid = {"finetune.epochs": [1, 2]}
    layers = [{"class_path": "PlainAutoencoder", "init_args": {"coder": dense(3)}}]
    path = config(tmp_path, control={"layers": layers}, compare={"arms": ["pretrained"], "grid": grid})
    from aepretrain.cli.config import build_parser, parse

    parsed = parse(build_parser("compare"), ["--config", str(path)], own=())
    assert parsed.control is not None
    networks = [parsed.experiment, parsed.control, *(trial.experiment for trial in parsed.trials)]
    assert {type(next(iter(network.build_stack())).L).__name__ for network in networks} == {"Mixed"}


def test_raw_rows_of_a_csv_are_encoded_by_the_names_of_their_columns(finished, tmp_path):
    turned = {name: TABLE[name] for name in ("fed", "kind", "island", "mass")} | {"more": ["x"] * N}
    for name, table in (("a", TABLE), ("b", turned)):
        data, out = write(tmp_path / f"{name}.csv", table), str(tmp_path / f"{name}.out.csv")
        words = ["--add", "error,prediction", "--per-feature"]
        assert main(["encode", str(finished / "run"), "--data", data, "--out", out, *words]) == 0
    straight, other = rows_of(tmp_path / "a.out.csv"), rows_of(tmp_path / "b.out.csv")
    assert straight == other
    assert [row["label"] for row in straight[:3]] == ["None", "rook", "swan"]
    parts = [float(value) for name, value in straight[0].items() if name.startswith("error_")]
    assert {"error_mass", "error_mass missing", "error_island=Biscoe"} <= straight[0].keys()
    assert sum(parts) == pytest.approx(float(straight[0]["error"]), rel=1e-4)


def test_no_error_of_a_feature_is_lost_where_names_of_features_are_alike(tmp_path):
    alike = {"mass": TABLE["mass"], "mass missing": [f"{k % 7}.5" for k in range(N)], "kind": TABLE["kind"]}
    alike["seen"] = [("other", "missing", "red", "")[k % 4] for k in range(N)]
    file = config(tmp_path, finetune={"epochs": 0})
    data = write(tmp_path / "birds.csv", alike)
    assert main(["fit", "--config", str(file), "--pretrain.epochs", "1", "--out", str(tmp_path / "run")]) == 0
    words = ["encode", str(tmp_path / "run"), "--data", data, "--add", "error", "--per-feature"]
    assert main([*words, "--out", str(tmp_path / "codes.csv")]) == 0
    for row in rows_of(tmp_path / "codes.csv"):
        parts = [float(value) for name, value in row.items() if name.startswith("error_")]
        assert sum(parts) == pytest.approx(float(row["error"]), rel=1e-4)


def test_predictions_are_those_that_the_run_was_tested_with(finished, tmp_path):
    data, out = str(finished / "birds.csv"), tmp_path / "y.csv"
    assert main(["predict", str(finished / "run"), "--data", data, "--out", str(out)]) == 0
    found = rows_of(out)
    right = [row["prediction"] == kind for row, kind in zip(found, TABLE["kind"], strict=True) if kind]
    assert np.mean(right) > 0.8
    assert set(found[0]) == {"label", "prediction", "probability_owl", "probability_rook", "probability_swan"}


def test_unseen_values_are_counted_and_a_missing_column_is_refused(finished, tmp_path, capsys):
    strange = TABLE | {"island": ["Mars", *TABLE["island"][1:]], "fed": ["", *TABLE["fed"][1:]]}
    data = write(tmp_path / "strange.csv", strange)
    words = ["encode", str(finished / "run"), "--out", str(tmp_path / "x.npy"), "--data"]
    assert main([*words, data]) == 0
    said = lines(capsys)
    assert "column island: 1 row with values that have no code of their own, such as 'Mars', take the code of" in said
    assert "column fed: 1 row without a value, where none was missing before, take the code of unseen values" in said
    assert np.isfinite(np.load(tmp_path / "x.npy")).all()
    assert main([*words, write(tmp_path / "few.csv", {"mass": TABLE["mass"]})]) == 3
    assert "few.csv has no columns 'island', 'fed'. It has mass. Add what is missing to the file" in lines(capsys)
    np.save(tmp_path / "x.npy", np.zeros((3, 3), np.float32))
    assert main([*words, str(tmp_path / "x.npy")]) == 3
    assert "but the run was trained on a table. Give a CSV or Parquet file or folder." in lines(capsys)


def test_a_run_is_evaluated_with_its_own_codes_although_the_data_changed(finished, tmp_path, capsys):
    assert main(["evaluate", str(finished / "run")]) == 0
    before = lines(capsys)
    path = finished / "birds.csv"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("Dream", "Arctic", 1))
        assert main(["evaluate", str(finished / "run")]) == 3
        assert "inputs" in lines(capsys)
        assert main(["evaluate", str(finished / "run"), "--other_data"]) == 0
    finally:
        path.write_text(kept)
    assert "classifier" in before


def test_the_decoders_lead_back_to_columns(finished):
    autoencoder, encoder = (load(finished / "run" / "encoder") for load in (load_autoencoder, load_encoder))
    import torch

    raw = torch.tensor([[3000.0, 0.0, 1.0], [float("nan"), 3.0, 0.0]])
    assert autoencoder.reconstruct(raw).shape == (2, 3)
    assert autoencoder.error(raw).isfinite().all()
    assert torch.equal(encoder(raw), encoder.code(encoder.preprocess(raw)))
    assert json.loads((finished / "run" / "encoder" / "config.json").read_text())["in_shape"] == [3]
