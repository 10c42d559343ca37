"""The command: in this process where that is enough, as a program where a process is the point."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import aepretrain
from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.main import main
from tests.support import programs

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs" / "digits.yaml"
SHORT = ("--pretrain.epochs", "2", "--finetune.epochs", "2", "--report", "false")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """One short run on the digits, which several tests look at."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["fit", "--config", str(DIGITS), "--out", str(folder), *SHORT, "--data.labels", "200"]) == 0
    return folder


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "aepretrain", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=300,
    )  # fmt: skip


def figures(results):
    """The results without what a clock or another folder changes."""
    text = json.loads(json.dumps(results))
    for stage in (*text["stages"], text["classifier"]):
        del stage["seconds"]
    return text


def test_help_fits_on_a_screen_and_answers_in_half_a_second():
    seconds = []
    for _ in range(5):
        start = os.times()
        answer = command("--help")
        end = os.times()  # of the processor: what else the machine does must not count
        seconds.append(end.children_user + end.children_system - start.children_user - start.children_system)
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) <= 24
    assert max(map(len, answer.stdout.splitlines())) <= 100
    assert min(seconds) < 0.5


def test_without_a_verb_the_help_is_an_error(capsys):
    assert main([]) == 2
    assert "usage: aepretrain VERB" in capsys.readouterr().err


def test_help_does_not_import_torch():
    program = """if True:
        import sys
        from aepretrain.cli.main import main
        main(["--help"])
        sys.exit("torch" in sys.modules or "jsonargparse" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--layers.help", "SparseAutoencoder", "Penalty weight"),
        ("--data.help", "MNIST", "Folder with the data in torchvision's layout"),
    ],
)
def test_help_teaches_each_class(option, name, words, capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", option, name])
    assert left.value.code == 0
    assert words in " ".join(capsys.readouterr().out.split())


def test_the_run_directory_holds_what_it_promises(run_folder):
    names = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml", "commands.txt", "metrics.jsonl", "results.json", "train.log",
        "encoder/config.json", "encoder/encoder.safetensors", "encoder/README.md",
        "state.json", "stages/00-denoising/record.json", "stages/00-denoising/model.safetensors",
        "stages/inputs.npz", "stages/00-denoising/samples.npz",
        "stages/00-denoising/filters.png", "stages/00-denoising/reconstructions.png",
        "stages/01-denoising/curves.png", "stages/classifier/curves.png",
        "stages/classifier/record.json", "stages/classifier/model.safetensors",
        "stages/classifier/encoder/encoder.safetensors",
    }  # fmt: skip


def test_the_results_tell_what_the_run_found(run_folder):
    results = json.loads((run_folder / "results.json").read_text())
    first = results["stages"][0]
    assert first["stage"] == "00-denoising"
    assert first["variant"] == "denoising"
    assert (first["in_shape"], first["code_shape"]) == ([1, 8, 8], [256])
    assert (first["epochs"], first["steps"]) == (2, 2 * 38)
    assert first["seconds"] > 0
    assert set(first["losses"]) == {"train", "validation", "reconstruction"}
    assert {"active_share", "dead_units", "identity_score"} <= set(first["diagnostics"])
    for split, count in (("validation", 300), ("test", 300)):
        measured = results["classifier"][split]
        assert 0 <= measured["accuracy"] <= 1
        assert measured["error"] == pytest.approx(1 - measured["accuracy"])
        assert sum(map(sum, measured["confusion_matrix"])) == count
    assert results["classifier"]["weights_arrived"] is True
    assert results["data"]["labelled"] == 200
    assert results["data"]["unlabelled"] == 1197
    assert results["seed"] == 0
    assert results["device"] == "cpu"
    assert results["versions"]["torch"] == torch.__version__


def test_every_epoch_of_every_stage_is_in_the_metrics(run_folder):
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    for stage in ("00-denoising", "01-denoising", "classifier"):
        for epoch in (0, 1):
            names = {row["name"] for row in rows if (row["stage"], row["epoch"]) == (stage, epoch)}
            assert {"train/loss", "val/loss", "epoch_seconds"} <= names
            assert ("val/accuracy" if stage == "classifier" else "val/reconstruction") in names


def test_the_log_tells_of_every_stage(run_folder):
    text = (run_folder / "train.log").read_text()
    for words in ("00-denoising  64 to 256", "01-denoising  256 to 128", "classifier  2 epochs", "test error"):
        assert words in text


def test_the_resolved_config_gives_identical_results(run_folder, tmp_path):
    again = tmp_path / "again"
    assert main(["fit", "--config", str(run_folder / "config.yaml"), "--out", str(again)]) == 0
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (run_folder, again))
    assert figures(first) == figures(second)
    assert (run_folder / "config.yaml").read_text() == (again / "config.yaml").read_text()
    weights = "encoder/encoder.safetensors"
    assert (run_folder / weights).read_bytes() == (again / weights).read_bytes()
    assert not {"out", "config"} & yaml.safe_load((again / "config.yaml").read_text()).keys()


def test_another_seed_gives_another_result(run_folder, tmp_path):
    other = tmp_path / "other"
    assert main(["fit", "--config", str(run_folder / "config.yaml"), "--out", str(other), "--seed", "1"]) == 0
    weights = "encoder/encoder.safetensors"
    assert (run_folder / weights).read_bytes() != (other / weights).read_bytes()


def test_the_encoder_that_is_handed_over_is_the_pretrained_one(run_folder):
    encoder = aepretrain.load_encoder(run_folder / "encoder")
    first = load_file(run_folder / "stages" / "00-denoising" / "model.safetensors")
    assert torch.equal(encoder.layers[0][1].weight, first["f.affine.weight"])
    second = load_file(run_folder / "stages" / "01-denoising" / "model.safetensors")
    assert torch.equal(encoder.layers[1][0].weight, second["f.affine.weight"])
    config = json.loads((run_folder / "encoder" / "config.json").read_text())
    assert config["provenance"]["variants"] == ["denoising", "denoising"]
    assert config["provenance"]["data set"] == "Digits"
    assert config["transform"] == {"type": "Scale", "divide_by": 16}
    assert encoder.transform.divide_by == 16
    assert encoder.class_names == list("0123456789")


def test_evaluate_measures_the_same_again_from_the_files(run_folder, capsys):
    assert main(["evaluate", str(run_folder)]) == 0
    shown = capsys.readouterr().out
    results = json.loads((run_folder / "results.json").read_text())
    assert f"{results['classifier']['test']['accuracy']:.2%}" in shown
    assert f"{results['classifier']['validation']['loss']:.4f}" in shown


def test_validate_prints_the_plan_and_trains_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "--config", str(DIGITS)]) == 0
    shown = capsys.readouterr().out
    for words in ("00-denoising", "1x8x8 > 256", "33,088", "1,140", "disk about", "memory about"):
        assert words in shown
    assert not list(tmp_path.iterdir())


def test_validate_warns_of_the_trivial_identity(capsys, tmp_path):
    path = write(tmp_path, layers=[layer("PlainAutoencoder", 65)])
    assert main(["validate", "--config", path]) == 0
    assert "layer 0 (00-plain) is overcomplete (65 units for 64 inputs) and has no regularizer" in flat(capsys)


def flat(capsys):
    return " ".join(capsys.readouterr().out.split())


def layer(name, features=16, **arguments):
    coder = {"class_path": "Dense", "init_args": {"features": features}}
    return {"class_path": name, "init_args": {"coder": coder, **arguments}}


def write(folder, **config):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"report": False, **config}))
    return str(path)


def masking(p):
    return layer("DenoisingAutoencoder", corruption={"class_path": "Masking", "init_args": {"p": p}})


PLAIN = layer("PlainAutoencoder")
BAD_CONFIGS = {
    "unknown key": ({"layers": [PLAIN], "finetun": {}}, 2, "unknown key 'finetun'. Did you mean finetune?"),
    "unknown setting": ({"layers": [PLAIN], "pretrain": {"epoch": 3}}, 2, "no setting 'epoch'. Did you mean epochs?"),
    "misspelt class": (
        {"layers": [PLAIN, layer("SparseAutoencodr")]}, 2,
        "layers[1]: there is no Layer called 'SparseAutoencodr'. Did you mean SparseAutoencoder?",
    ),
    "misspelt part": (
        {"layers": [layer("PlainAutoencoder", likelihood="Bernouli")]}, 2,
        "layers[0].init_args.likelihood: there is no Likelihood called 'Bernouli'. Did you mean Bernoulli?",
    ),
    "misspelt optimizer": (
        {"layers": [layer("PlainAutoencoder", optimizer={"class_path": "torch.optim.SDG"})]}, 2,
        "no Optimizer called 'torch.optim.SDG'. Did you mean SGD?",
    ),
    "unknown argument": ({"layers": [layer("PlainAutoencoder", lam=1)]}, 2, "PlainAutoencoder has no setting 'lam'"),
    "missing argument": ({"layers": [{"class_path": "SparseAutoencoder"}]}, 2, "SparseAutoencoder needs 'coder'"),
    "argument in the wrong place": ({"layers": [{**PLAIN, "lam": 1}]}, 2, "go under init_args"),
    "wrong type": (
        {"layers": [PLAIN, layer("PlainAutoencoder", "x")]}, 2,
        "layers[1].coder.features must be a whole number, but is x",
    ),
    "arguments of another type": (
        {"layers": [{"class_path": "PlainAutoencoder", "init_args": 5}]}, 2, "layers[0].init_args must hold arguments",
    ),
    "null part": (
        {"layers": [layer("DenoisingAutoencoder", corruption=None)]}, 2,
        "layers[0].init_args.corruption must name a class by class_path, but is None",
    ),
    "null group": ({"layers": [PLAIN], "pretrain": None}, 2, "pretrain must hold settings with values"),
    "width of the code": ({"layers": [PLAIN], "classifier": {"code_features": 7}}, 2, "no setting 'code_features'"),
    "no list": ({"layers": PLAIN}, 2, "layers must be a list"),
    "no layers": ({"data": "Digits"}, 2, "there are no layers to train"),
    "noise level 1.5": ({"layers": [PLAIN, masking(1.5)]}, 2, "layers[1]: masking p must lie in [0, 1), but got 1.5"),
    "noise level 1.0": ({"layers": [masking(1.0)]}, 2, "masking p must lie in [0, 1), but got 1.0"),
    "negative lambda": ({"layers": [layer("SparseAutoencoder", lam=-0.5)]}, 2, "layer 0: lam must be finite and >= 0"),
    "zero epochs": ({"layers": [PLAIN], "pretrain": {"epochs": 0}}, 2, "pretrain.epochs must be >= 1, but got 0"),
    "zero batch": ({"layers": [PLAIN], "finetune": {"batch_size": 0}}, 2, "finetune.batch_size must be >= 1"),
    "list of another length": ({"layers": [PLAIN], "pretrain": {"epochs": [1, 2]}}, 2, "2 values for 1 layers"),
    "classifier": ({"layers": [PLAIN], "classifier": {"dropout": 1.5}}, 2, "classifier: dropout p must lie in [0, 1)"),
    "layers that do not fit": (
        {"layers": [layer("VariationalAutoencoder"), layer("PlainAutoencoder", likelihood="Bernoulli")]}, 2,
        "layer 1: its likelihood Bernoulli takes values in [0, 1], but the codes of layer 0 lie in [-inf, inf]",
    ),
    "no width": ({"layers": [layer("PlainAutoencoder", 0)]}, 2, "at least 1 unit, but got 0"),
    "precision": (
        {"layers": [PLAIN], "trainer": {"precision": "8"}}, 2,
        "trainer.precision must be one of 32-true, bf16-mixed, 16-mixed, but is 8",
    ),
    "misspelt data": ({"layers": [PLAIN], "data": "MNISTT"}, 2, "no DataModule called 'MNISTT'. Did you mean MNIST?"),
    "learning rate": (
        {"layers": [PLAIN], "classifier": {"optimizer": {"class_path": "Adam", "init_args": {"lr": -1}}}}, 2,
        "classifier: the optimizer or scheduler cannot be made: Invalid learning rate: -1",
    ),
    "strategy": ({"layers": [PLAIN], "trainer": {"strategy": "none"}}, 2, "You selected an invalid strategy"),
    "spawned processes": (
        {"layers": [PLAIN], "trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"}}, 2,
        "starts processes by spawn or fork",
    ),
    "batch for two processes": (
        {
            "layers": [PLAIN], "finetune": {"batch_size": 33},
            "trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"},
        }, 2,
        "classifier: batch_size counts the examples of all processes: 33 cannot be shared equally by 2",
    ),
    "missing folder": (
        {"layers": [PLAIN], "data": {"class_path": "MNIST", "init_args": {"root": "/nowhere"}}}, 3,
        "data.root names the folder /nowhere, which does not exist",
    ),
    "too many labels": (
        {"layers": [PLAIN], "data": {"class_path": "Digits", "init_args": {"labels": 100_000}}}, 3,
        "training examples, but a balanced choice of 100000 labels needs 10000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CONFIGS)
@pytest.mark.parametrize("verb", ["validate", "fit"])
def test_a_bad_config_is_one_line_with_the_right_code_and_nothing_is_written(verb, name, refused, tmp_path):
    config, code, message = BAD_CONFIGS[name]
    assert message in refused(code, verb, "--config", write(tmp_path, **config))
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def write_mnist(folder, count, side=28, label=0):
    """An MNIST folder in its own file format: ``count`` black images, all with one label."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for half in ("train", "t10k"):
        sizes = b"".join(size.to_bytes(4, "big") for size in (count, side, side))
        (raw / f"{half}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + bytes(count * side * side))
        labels = bytes([label]) * count
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count.to_bytes(4, "big") + labels)


BAD_DATA = {
    "empty": ({"count": 0}, "MNIST could not be read"),
    "too few to validate": ({"count": 3}, "MNIST, validation split: there are no examples"),
    "shape": ({"count": 20, "side": 20}, "examples must have the shape (1, 28, 28), but have (1, 20, 20)"),
    "labels": ({"count": 20, "label": 11}, "labels must lie in [0, 9], but reach from 11 to 11"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_are_one_line_and_code_3_before_the_first_stage(name, refused, tmp_path):
    arguments, message = BAD_DATA[name]
    write_mnist(tmp_path, **arguments)
    data = {"class_path": "MNIST", "init_args": {"root": str(tmp_path), "download": False}}
    assert message in refused(3, "fit", "--config", write(tmp_path, layers=[PLAIN], data=data), "--out", "run")
    assert not (tmp_path / "run").exists()


TWENTY = [[0.1 * i, 0.5, 0.2] for i in range(20)]
BERNOULLI = layer("PlainAutoencoder", 2, likelihood="Bernoulli")
BAD_ARRAYS = {
    "empty": ({"x": []}, "inputs need the shape (N, ...), but have (0,)"),
    "no features": ({"x": [[]] * 20}, "examples of shape (0,) hold no values"),
    "ragged": ({"x": [[1.0, 2.0], [3.0]]}, "inputs must be numbers in an array"),
    "NaN": ({"x": [[float("nan"), 1.0]] * 20}, "inputs must be finite, but 20 of 20 examples have NaN"),
    "outside [0, 1]": (
        {"x": TWENTY},
        "layer 0 (00-plain), Arrays: Bernoulli takes values in [0, 1], but the data reach",
    ),
    "label out of range": ({"x": TWENTY, "y": [0, 1] * 9 + [0, 5], "num_classes": 2}, "labels must lie in [0, 1]"),
    "missing labels": ({"x": TWENTY, "y": [None] * 20}, "all labels are missing"),
    "fractional label": ({"x": TWENTY, "y": [0, 0.5] * 10, "target_type": "class"}, "labels must be whole numbers"),
    "fewer labels": ({"x": TWENTY, "y": [0, 1]}, "20 examples need as many labels, but there are 2"),
    "other inputs": ({"x": TWENTY, "more_inputs": [[0.5]]}, "must have the shape (3,), but have (1,)"),
    "one example": ({"x": [[0.5, 0.5]]}, "1 examples cannot be divided into three splits"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_one_line_and_code_3(name, refused, tmp_path):
    arguments, message = BAD_ARRAYS[name]
    data = {"class_path": "Arrays", "init_args": arguments}
    assert message in refused(3, "fit", "--config", write(tmp_path, layers=[BERNOULLI], data=data), "--out", "run")
    assert not (tmp_path / "run").exists()


def test_fewer_examples_than_a_batch_are_one_batch(runner, tmp_path):
    data = {"class_path": "Arrays", "init_args": {"x": TWENTY, "y": [0, 1] * 10, "validation": 0.2, "test": 0.2}}
    config = write(tmp_path, layers=[layer("PlainAutoencoder", 2)], data=data, pretrain={"epochs": 2, "batch_size": 64})
    code, said = runner.run("fit", "--config", config, "--out", tmp_path / "run")
    assert code == 0, said
    assert json.loads((tmp_path / "run" / "results.json").read_text())["stages"][0]["steps"] == 2


def test_truncated_files_are_a_data_error(refused, tmp_path):
    write_mnist(tmp_path, 20)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:100])
    config = write(tmp_path, layers=[PLAIN], data="MNIST")
    words = ("validate", "--config", config, "--data.root", tmp_path, "--data.download", "false")
    assert "MNIST could not be read" in refused(3, *words)


def test_a_diverging_run_stops_with_code_4_and_names_the_stage(tmp_path, capsys):
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e18}}
    config = write(tmp_path, layers=[layer("PlainAutoencoder", optimizer=sgd)])
    assert main(["fit", "--config", config, "--out", str(tmp_path / "run")]) == 4
    assert "00-plain: the loss of epoch 0, step 1, is inf" in capsys.readouterr().err
    assert not (tmp_path / "run" / "encoder").exists()


def test_a_last_step_that_blows_up_is_seen_by_its_validation(tmp_path, capsys):
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e30}}
    path = write(
        tmp_path, layers=[layer("PlainAutoencoder", optimizer=sgd)], pretrain={"epochs": 1, "batch_size": 1197}
    )
    assert main(["fit", "--config", path, "--out", str(tmp_path / "run")]) == 4
    assert "00-plain: val/loss of epoch 0 is" in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_and_code_1(tmp_path, capsys):
    path = write(tmp_path, layers=[layer("PlainAutoencoder", optimizer={"class_path": "torch.optim.SparseAdam"})])
    assert main(["fit", "--config", path, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "(--debug shows the traceback)" in error


def test_the_data_folder_of_the_environment_is_written_into_the_resolved_config(tmp_path, monkeypatch):
    monkeypatch.setenv("AEPRETRAIN_DATA", str(tmp_path))
    parsed = parse(build_parser("fit"), ["--config", write(tmp_path, layers=[PLAIN], data="MNIST")], ())
    assert yaml.safe_load(parsed.yaml)["data"]["init_args"]["root"] == str(tmp_path)


BAD_WORDS = {
    "verb": (["fitt"], "'fitt' is not a verb of aepretrain. Did you mean fit?"),
    "option": (["fit", "--fintune.epochs", "5"], "--fintune.epochs is not an option. Did you mean --finetune.epochs?"),
    "abbreviation": (
        ["fit", "--finetune.epoch", "5"],
        "--finetune.epoch is not an option. Did you mean --finetune.epochs?",
    ),
    "option of the data": (
        ["fit", "--data.lables", "5"],
        "--data.lables is not an option here: Digits has no setting 'lables'. Did you mean --data.labels?",
    ),
    "class": (["fit", "--data", "MNISTT"], "data: there is no DataModule called 'MNISTT'. Did you mean MNIST?"),
    "layer": (
        ["fit", "--layers", '[{"class_path": "PlainAutoencodr"}]'],
        "layers: there is no Layer called 'PlainAutoencodr'. Did you mean PlainAutoencoder?",
    ),
    "value": (["fit", "--data.labels", "many"], "data.labels must be a whole number or null, but is many."),
    "missing config": (["fit", "--config", "nowhere.yaml"], "the config nowhere.yaml cannot be read"),
    "not a run": (["evaluate", "."], "is not a run directory"),
    "no run": (["evaluate"], "Usage: aepretrain evaluate RUN"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_words_are_one_line_and_code_2(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = BAD_WORDS[name]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(("text", "message"), [("a: [", "no valid YAML"), ("- a", "must hold keys and values")])
def test_a_file_that_is_no_config_is_refused(text, message, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert main(["fit", "--config", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_never_overwrites_another(run_folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    assert main(["fit", "--config", str(DIGITS), "--out", str(run_folder)]) == 2
    assert "is not empty, and a run never overwrites another" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["fit", "--config", str(DIGITS), "--out", str(tmp_path / "file" / "run")]) == 5
    assert "cannot be written" in capsys.readouterr().err


def test_a_damaged_run_is_a_storage_error(run_folder, tmp_path, capsys):
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    weights = copy / "stages" / "classifier" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert main(["evaluate", str(copy)]) == 5
    assert "model.safetensors cannot be read" in capsys.readouterr().err


def test_later_configs_and_dotted_arguments_override_earlier_ones(tmp_path, capsys):
    overlay = write(tmp_path, pretrain={"epochs": 7})
    assert main(["validate", "--config", str(DIGITS), "--config", overlay, "--finetune.epochs", "3"]) == 0
    shown = capsys.readouterr().out
    assert f"{7 * 38:,}" in shown
    assert f"{3 * 38:,}" in shown


def test_the_8_3_8_task_is_solved_and_its_codes_are_printed(tmp_path, capsys):
    out = tmp_path / "run"
    assert (
        main(["fit", "--config", str(ROOT / "configs" / "encoder-8-3-8.yaml"), "--out", str(out), "--report", "false"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "8 of 8 patterns come back as they went in" in shown
    results = json.loads((out / "results.json").read_text())
    assert results["classifier"] is None
    patterns = results["patterns"]
    assert [row["answer"] for row in patterns] == list(range(8))
    assert all(len(row["code"]) == 3 for row in patterns)
    assert main(["evaluate", str(out)]) == 2


def test_a_program_run_shows_one_line_per_stage_and_the_final_table(tmp_path):
    answer = programs.run("fit", "--config", DIGITS, "--out", tmp_path / "run", *SHORT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert sum(line.startswith("00-denoising  64 to 256  2 epochs in") for line in lines) == 1
    assert any("test error" in line for line in lines)
    assert any(line.split()[:1] == ["test"] for line in lines)


def test_a_program_that_fails_leaves_its_code_and_one_line(tmp_path):
    answer = programs.run("fit", "--config", write(tmp_path, **BAD_CONFIGS["missing folder"][0]))
    assert answer.returncode == 3
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert main(["validate", "--debug", "--config", write(tmp_path, layers=[masking(1.5)])]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_version_is_that_of_the_package():
    assert command("--version").stdout.strip() == f"aepretrain {importlib.metadata.version('aepretrain')}"
