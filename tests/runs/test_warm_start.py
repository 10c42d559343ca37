"""A stack begins with the layers and the preprocessing of another run, in every detail or not at all."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import aepretrain as ae
from aepretrain.cli.main import main
from aepretrain.runs.warm_start import KEPT
from tests.support.runs import differences
from tests.support.tables import X, Y, save, write_config

SCALED = {"transform": "standardize", "validation": 0.2, "test": 0.2}


def plain(features=4, activation="sigmoid", **settings):
    return lambda shape: ae.PlainAutoencoder(shape, ae.Dense(features, activation=activation), **settings)


def tied(shape):
    return ae.PlainAutoencoder(shape, ae.Dense(4, tied=True))


def variational(shape):
    return ae.VariationalAutoencoder(shape, ae.Dense(4))


def old_data():
    return ae.Arrays(X, Y, **SCALED)


def new_data(**settings):
    """Other rows of the same features, in two classes instead of three."""
    return ae.Arrays(3 * X[::-1].copy() + 1, Y[::-1] % 2, **{**SCALED, **settings})


def experiment(data, *layers, frozen=0, warm_start=None, **changes):
    pretrain = ae.Pretraining(2, 64, freeze_layers=frozen)
    settings = {"pretrain": pretrain, "finetune": ae.FineTuning(2, 64), "report": False, **changes}
    return ae.Experiment(list(layers or (plain(), plain(3))), data, warm_start=warm_start, **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run to begin from, which nothing may change."""
    out = tmp_path_factory.mktemp("source") / "run"
    experiment(old_data()).run(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    yield out
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def weights(folder, layer):
    return ae.load_encoder(folder / "encoder").layers[layer].state_dict()


def equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_layer_begins_with_the_weights_of_the_run_also_a_second_time(source):
    begun = experiment(new_data(), warm_start=ae.WarmStart(source))
    stack = begun.prepare()
    for k in (0, 1):
        assert equal(stack.encoder[k].state_dict(), weights(source, k))
    context = ae.RunContext(progress=False)
    first, second = (stack.fit(begun.data, begun.pretrain, context).encoder.state_dict() for _ in range(2))
    assert equal(first, second)
    assert not equal(first, begun.build_stack().encoder.state_dict())
    assert not equal(stack.encoder[0].state_dict(), weights(source, 0))


def test_a_frozen_layer_is_taken_as_it_is_and_the_one_above_trains(source, tmp_path, capsys):
    found = experiment(new_data(), frozen=1, warm_start=ae.WarmStart(source)).run(tmp_path)
    assert equal(weights(tmp_path, 0), weights(source, 0))
    assert not equal(weights(tmp_path, 1), weights(source, 1))
    frozen, trained = found.stages
    assert (frozen.epochs, frozen.steps, frozen.losses.train) == (0, 0, None)
    assert (trained.epochs, trained.steps) == (2, 4)
    assert frozen.losses.validation > 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("00-plain")]
    assert len(lines) == 1
    assert "5 to 4  frozen  reconstruction" in lines[0]
    assert ae.RunResult.read(tmp_path / "results.json") == found


def test_a_layer_that_differs_begins_at_random_above_those_that_are_taken(source):
    stack = experiment(new_data(), plain(), plain(7), warm_start=ae.WarmStart(source, layers=1)).prepare()
    assert equal(stack.encoder[0].state_dict(), weights(source, 0))
    assert (stack.warm_start.layers, stack.code_shape) == (1, (7,))


def test_the_fitted_preprocessing_and_another_number_of_classes_go_with_it(source, tmp_path):
    data = new_data()
    data.splits()  # were they read before, they are read again
    found = experiment(data, warm_start=ae.WarmStart(source)).run(tmp_path)
    ours, theirs = (ae.load_encoder(folder / "encoder") for folder in (tmp_path, source))
    assert equal(ours.transform.state_dict(), theirs.transform.state_dict())
    assert float(data.splits().unlabelled.mean()) > 1  # fitted to these rows, it would be 0
    assert (found.data.classes, ae.RunResult.read(source / "results.json").data.classes) == (2, 3)
    assert ae.load_encoder(tmp_path / "stages" / "classifier" / "encoder").class_names == data.class_names


OTHER_WIDTH = (
    r"layer 1 \(01-plain\) must have the coder of 01-plain in .*, but module 0 of its encoder is "
    r"Linear\(in_features=4, out_features=9, bias=True\) instead of "
    r"Linear\(in_features=4, out_features=3, bias=True\).*Set layers as in .*config.yaml, or take the layers below "
    r"alone by warm_start_layers 1\."
)
REFUSED = {
    "features": ((plain(), plain(9)), new_data, {}, OTHER_WIDTH),
    "activation": ((plain(activation="relu"),), new_data, {}, r"encoder is ReLU\(\) instead of Sigmoid\(\)"),
    "likelihood": ((plain(), plain(3, likelihood=ae.Bernoulli())), new_data, {}, "its likelihood is Bernoulli"),
    "variant": ((variational,), new_data, {}, r"layer 0 \(00-variational\) .* is Identity\(\) instead of Sigmoid"),
    "tied weights": ((tied,), new_data, {}, r"layer 0 \(00-plain\) must have the weights of 00-plain in .*g\."),
    "shape": ((plain(),), lambda: ae.Arrays(X[:, :4], Y, **SCALED), {}, r"examples of shape .*\(5,\).*\(4,\)"),
    "transform": ((plain(),), lambda: new_data(transform="minmax"), {}, "preprocessing must be that of .*Set data"),
    "layers": ((plain(), plain(3), plain(2)), new_data, {"layers": 3}, "layers must be at most 2, but got 3"),
    "digest": ((plain(),), new_data, {"sha256": "0" * 64}, "must have the SHA-256 0{64}, but has .*leave warm_start"),
    "nowhere": ((plain(),), new_data, {"run": "nowhere"}, "nowhere has no encoder folder, .*Name the directory of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_run_is_refused_by_name(case, source):
    layers, data, changes, message = REFUSED[case]
    with pytest.raises(ae.ConfigError, match=message) as error:
        experiment(data(), *layers, warm_start=replace(ae.WarmStart(source), **changes)).prepare()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("frozen", "warm"), [(1, False), (3, True), (-1, True)])
def test_only_layers_that_begin_from_a_run_can_be_frozen(frozen, warm, source):
    begun = experiment(new_data(), frozen=frozen, warm_start=ae.WarmStart(source) if warm else None)
    rule = rf"pretrain.freeze_layers must lie between 0 and the {2 * warm} layers .*, but got {frozen}"
    with pytest.raises(ae.ConfigError, match=rule):
        begun.prepare()
    with pytest.raises(ae.ConfigError, match=r"pretrain.freeze_layers must lie between 0 and the 0 layers"):
        begun.build_stack().fit(begun.data, begun.pretrain, ae.RunContext(progress=False))


def test_no_layers_at_all_cannot_be_taken():
    with pytest.raises(ae.ConfigError, match="warm_start_layers must be >= 1, but got 0"):
        ae.WarmStart("run", layers=0)


@pytest.mark.parametrize("unfinished", [("01-plain", "classifier"), ("00-plain", "01-plain", "classifier")])
def test_a_run_that_began_from_another_resumes_without_it(unfinished, source, tmp_path):
    away, whole, stopped = (tmp_path / name for name in ("away", "whole", "stopped"))
    shutil.copytree(source, away)
    begun = experiment(new_data(), frozen=1, warm_start=ae.WarmStart(away))
    begun.run(whole)
    shutil.rmtree(away)
    shutil.copytree(whole, stopped)
    state = json.loads((stopped / "state.json").read_text())
    for stage in unfinished:
        del state["stages"][stage]
        shutil.rmtree(stopped / "stages" / stage)
    (stopped / "metrics.jsonl").write_text("")
    (stopped / "state.json").write_text(json.dumps(state))
    replace(begun, data=new_data()).run(stopped, resume=True)
    assert set(differences(whole, stopped)) <= {"metrics.jsonl"}
    with pytest.raises(ae.ConfigError, match="has no encoder folder"):
        begun.run(tmp_path / "new")


def test_a_source_that_is_damaged_is_refused(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    path = tmp_path / "source" / "stages" / "00-plain" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ae.StorageError, match=r"00-plain.model\.safetensors is missing or is not what was written"):
        experiment(new_data(), warm_start=ae.WarmStart(tmp_path / "source")).prepare()


def said(capsys):
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def from_config(tmp_path_factory):
    """A folder with a run of a config, and one that began from it."""
    folder = tmp_path_factory.mktemp("configs")
    save(folder)
    config = str(write_config(folder))
    assert main(["fit", "--config", config, "--out", str(folder / "old")]) == 0
    words = ["--warm_start", str(folder / "old"), "--pretrain.freeze_layers", "1", "--out", str(folder / "new")]
    assert main(["fit", "--config", config, *words]) == 0
    return folder


def test_config_and_results_name_the_run_by_path_and_digest(from_config):
    digest = json.loads((from_config / "old" / "encoder" / "config.json").read_text())["sha256"]
    settings = yaml.safe_load((from_config / "new" / "config.yaml").read_text())
    assert (settings["warm_start"], settings["warm_start_sha256"]) == (str(from_config / "old"), digest)
    found = ae.RunResult.read(from_config / "new" / "results.json").warm_start
    assert (found.run, found.sha256, found.layers, found.frozen) == (str(from_config / "old"), digest, 2, 1)
    assert digest in (from_config / "new" / "encoder" / "README.md").read_text()


def test_the_resolved_config_gives_the_same_again_or_names_the_run_that_changed(from_config, tmp_path, capsys):
    words = ["--config", str(from_config / "new" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(["fit", *words]) == 0
    assert differences(from_config / "new", tmp_path / "again") == []
    away = from_config / "away"
    (from_config / "old").rename(away)
    try:
        assert main(["fit", *words[:2], "--out", str(tmp_path / "third")]) == 2
        assert f"warm_start: {from_config / 'old'} has no encoder folder" in said(capsys)
        assert main(["evaluate", str(from_config / "new")]) == 0
        codes = ["--data", str(from_config / "x.npy"), "--out", str(tmp_path / "codes.npy")]
        assert main(["encode", str(from_config / "new"), *codes]) == 0
    finally:
        away.rename(from_config / "old")


def test_plan_and_report_show_where_the_layers_begin_and_what_is_frozen(from_config, capsys, quick_embeddings):
    assert main(["validate", "--config", str(from_config / "new" / "config.yaml")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "-plain" in line]
    assert [(row[0], row[-3], row[-1]) for row in rows] == [("00-plain", "0", "0"), ("01-plain", "3", "3")]
    assert main(["report", str(from_config / "new")]) == 0
    page = (from_config / "new" / "report.html").read_text()
    (from_config / "new" / "report.html").unlink()
    assert f"The layers begin with those of {from_config / 'old'}, whose encoder has the SHA-256" in page
    assert page.count(">frozen<") == 1


def test_a_comparison_cannot_begin_from_a_run(from_config, tmp_path, capsys):
    words = ["--config", str(from_config / "config.yaml"), "--warm_start", str(from_config / "old")]
    assert main(["compare", *words, "--out", str(tmp_path / "compared")]) == 2
    assert f"a comparison cannot begin from warm_start {from_config / 'old'}: all seeds" in said(capsys)
    assert main(["validate", *words]) == 0


@pytest.mark.parametrize("setting", ["warm_start_layers", "warm_start_sha256"])
def test_further_settings_need_a_run_to_begin_from(setting, from_config, capsys):
    assert main(["validate", "--config", str(from_config / "config.yaml"), f"--{setting}", "1"]) == 2
    assert f"{setting} is 1, but warm_start names no run" in said(capsys)


def test_a_table_takes_columns_and_categories_of_the_run(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    generator = np.random.default_rng(0)
    rows = [(f"{generator.normal():.3f}", "abc"[k % 3], "xy"[k % 2]) for k in range(120)]
    names = ("size", "colour", "kind")

    def config(name, names, rows):
        folder = tmp_path / name
        folder.mkdir()
        lines = [",".join(row) for row in (names, *rows)]
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        root = str(folder / "table.csv")
        arguments = {"root": root, "target": "kind", "cache": str(folder / "cache")}
        return str(write_config(folder, {"class_path": "Table", "init_args": arguments}))

    assert main(["fit", "--config", config("old", names, rows), "--out", str(tmp_path / "a")]) == 0
    others = [(size, {"a": "a", "b": "d", "c": "c"}[colour], kind) for size, colour, kind in rows]
    start = ["--warm_start", str(tmp_path / "a")]
    out = tmp_path / "b"
    assert main(["fit", "--config", config("new", names, others), *start, "--out", str(out)]) == 0
    transforms = [ae.load_encoder(folder / "encoder").transform for folder in (tmp_path / "a", out)]
    assert transforms[0].feature_names == transforms[1].feature_names
    assert equal(transforms[0].state_dict(), transforms[1].state_dict())
    said(capsys)
    renamed = config("renamed", ("mass", *names[1:]), rows)
    assert main(["validate", "--config", renamed, *start]) == 2
    assert f"the columns must be those of {tmp_path / 'a'}, size, colour, but Table has mass, colour" in said(capsys)


def test_the_copy_holds_what_is_needed_and_no_more(from_config):
    kept = from_config / "new" / KEPT
    found = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert found == {
        "state.json",
        "encoder/config.json",
        "encoder/encoder.safetensors",
        "encoder/decoder.safetensors",
        "stages/00-plain/model.safetensors",
        "stages/01-plain/model.safetensors",
    }
