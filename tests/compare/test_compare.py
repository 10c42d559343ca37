"""Comparisons: paired bit for bit, honest, and able to go on where they stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from distributed import LocalCluster
from safetensors.torch import load_file
from torch.optim import SGD

from aepretrain import (
    Classifier,
    DenoisingAutoencoder,
    Dense,
    Digits,
    DivergedError,
    Experiment,
    FineTuning,
    Pretraining,
    load_encoder,
)
from aepretrain.cli.main import main
from aepretrain.compare import Bench, Cell, Comparison, Trial, compare
from aepretrain.compare.summary import summarize
from aepretrain.results.cell import CellResult
from aepretrain.results.run import DataFacts
from aepretrain.training.loop import OptimizerStep
from tests.support import programs
from tests.support.runs import all_left, differences, members

SMALL = {
    "report": False,
    "layers": [
        {
            "class_path": "DenoisingAutoencoder",
            "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 16}}},
        }
    ],
    "pretrain": {"epochs": 2},
    "finetune": {"epochs": 3, "batch_size": 16},
    "compare": {"seeds": 2, "labels": [50, None], "baselines": ["knn"]},
}

SOAK = pytest.mark.soak


class Watch:
    """What a classifier sees: its head and encoder before the first step, every batch, the seed of its noise."""

    def __init__(self, monkeypatch):
        start, take_step = OptimizerStep.__init__, OptimizerStep.__call__

        def started(step, state, *args, **kwargs):
            self.start = {name: tensor.clone() for name, tensor in state.module.state_dict().items()}
            self.batches, self.noise = [], []
            start(step, state, *args, **kwargs)

        def taken(step, batch, *place):
            self.batches.append([tensor.clone() for tensor in batch])
            loss = take_step(step, batch, *place)
            self.noise.append(step.noise.generator.initial_seed())
            return loss

        monkeypatch.setattr(OptimizerStep, "__init__", started)
        monkeypatch.setattr(OptimizerStep, "__call__", taken)


def experiment(**changes):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(16))  # noqa: E731
    settings = {"report": False, "pretrain": Pretraining(epochs=2), "finetune": FineTuning(3, 16), **changes}
    return Experiment([layer], Digits(labels=50), **settings)


def bench(experiment, runs, comparison=Comparison(), control=None):
    return Bench(comparison, [Trial(experiment, control)], runs)


def test_the_arms_of_a_seed_differ_in_the_weights_of_the_encoder_alone(tmp_path):
    seen = {}
    for arm in ("pretrained", "random", "probe"):
        with pytest.MonkeyPatch.context() as patch:
            seen[arm] = Watch(patch)
            bench(experiment(classifier=partial(Classifier, dropout=0.5)), tmp_path).run(Cell(arm, 3, 50))
    for arm in ("random", "probe"):
        one, other = seen["pretrained"], seen[arm]
        assert len(one.batches) == len(other.batches) == 3 * 4
        for batch, twin in zip(one.batches, other.batches, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, twin, strict=True))
        assert one.noise == other.noise
        assert len(set(one.noise)) == 3 * 4
        for name in ("head.weight", "head.bias"):
            assert torch.equal(one.start[name], other.start[name])
        same = torch.equal(one.start["encoder.0.1.weight"], other.start["encoder.0.1.weight"])
        assert same == (arm == "probe")
    random = experiment(seed=3).build_stack().encoder[0][1].weight
    assert torch.equal(seen["random"].start["encoder.0.1.weight"], random)


@pytest.mark.parametrize("vectorize", ["off", "auto"])
def test_the_arms_freeze_the_same_layers(tmp_path, vectorize):
    frozen = experiment(classifier=partial(Classifier, freeze_layers=1), finetune=FineTuning(3, 16))
    comparison = Comparison(arms=["pretrained", "random"], seeds=2, labels=[50], baselines=[])
    compare(frozen, comparison, tmp_path, vectorize=vectorize)
    for seed in (0, 1):
        pretrained = load_encoder(tmp_path / "runs" / f"pretraining-seed{seed}" / "encoder").layers
        random = replace(frozen, seed=seed).build_stack().encoder
        for arm, start in (("pretrained", pretrained), ("random", random)):
            weights = tmp_path / "runs" / f"{arm}-50-seed{seed}" / "stages" / "classifier" / "model.safetensors"
            assert torch.equal(load_file(weights)["encoder.0.1.weight"], start[0][1].weight)


def test_pretraining_runs_once_per_seed_and_is_shared_by_arms_and_budgets(tmp_path):
    compare(experiment(), Comparison(arms=["pretrained", "probe"], seeds=2, labels=[30, 50], baselines=[]), tmp_path)
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert [name for name in folders if name.startswith("pretraining")] == ["pretraining-seed0", "pretraining-seed1"]
    assert len(folders) == 2 + 2 * 2 * 2
    results = json.loads((tmp_path / "runs" / "probe-30-seed1" / "results.json").read_text())
    assert results["classifier"]["frozen_encoder"] is True
    assert results["classifier"]["weights_arrived"] is True


def write(folder, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return str(path)


def rows(folder):
    """The rows of results.csv without what a clock changes."""
    with (folder / "results.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    assert main(["compare", "--config", write(folder), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_the_table_has_a_row_per_cell_and_the_summary_says_what_it_says(undisturbed):
    found = rows(undisturbed)
    assert len(found) == 2 * 2 * 4
    assert list(found[0])[:5] == ["arm", "seed", "labels", "validation_accuracy", "test_accuracy"]
    summary = json.loads((undisturbed / "summary.json").read_text())
    for budget in summary["budgets"]:
        values = [
            float(row["test_accuracy"])
            for row in found
            if (row["arm"], row["labels"]) == ("pretrained", str(budget["labels"]))
        ]
        assert budget["arms"]["pretrained"]["mean"] == pytest.approx(sum(values) / 2)
        assert budget["verdict"].startswith("cannot tell at")
    assert summary["test_examples"] == 300


def test_the_same_command_again_runs_nothing_and_finds_the_same(undisturbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "runs").rglob("*")}
    table = (undisturbed / "results.csv").read_bytes()
    assert main(["compare", "--config", write(undisturbed.parent), "--out", str(undisturbed)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (undisturbed / "runs").rglob("*")}
    assert (undisturbed / "results.csv").read_bytes() == table
    assert "pretraining: cannot tell at 50 labels" in capsys.readouterr().out


def test_the_config_of_a_cell_is_one_of_fit_that_finds_the_same(undisturbed, tmp_path):
    cell = undisturbed / "runs" / "pretrained-50-seed1"
    assert (
        main(["fit", "--config", str(cell / "config.yaml"), "--out", str(tmp_path / "run"), "--report", "false"]) == 0
    )
    found, expected = (json.loads((run / "results.json").read_text()) for run in (tmp_path / "run", cell))
    assert found["classifier"]["test"] == expected["classifier"]["test"]
    probe = yaml.safe_load((undisturbed / "runs" / "probe-50-seed1" / "config.yaml").read_text())
    assert probe["classifier"]["freeze_encoder"] is True
    assert "fit would pretrain" in (undisturbed / "runs" / "random-50-seed1" / "config.yaml").read_text()


def test_another_setting_is_refused_and_named(undisturbed, capsys):
    command = ["compare", "--config", write(undisturbed.parent), "--out", str(undisturbed)]
    assert main([*command, "--finetune.epochs", "4", "--seed", "1"]) == 2
    assert "holds a comparison with other settings: finetune.epochs, seed changed" in capsys.readouterr().err


def test_a_comparison_of_a_version_without_a_setting_goes_on_with_its_default(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "out")
    path = tmp_path / "out" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["trainer"]["gradient_clip_val"], values["pretrain"]["codes"]
    path.write_text(yaml.safe_dump(values))
    command = ["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*command, "--trainer.accumulate=2"]) == 0
    assert rows(tmp_path / "out") == rows(undisturbed)


def test_a_comparison_without_enough_memory_names_a_command_that_goes_on(runner, tmp_path):
    coder = {"class_path": "Dense", "init_args": {"features": 4000}}
    changes = {
        "layers": [{"class_path": "PlainAutoencoder", "init_args": {"coder": coder}}],
        "pretrain": {"epochs": 1, "batch_size": 1024},
        "finetune": {"epochs": 1, "batch_size": 50},
        "compare": {"seeds": 1, "labels": [50], "arms": ["pretrained"], "baselines": ["knn"]},
    }
    little = {"stage": "00-plain", "room": 40_000_000}
    words = ("compare", "--config", write(tmp_path, **changes), "--out", tmp_path / "out")
    code, said = runner.run(*words, strike=little)
    assert code == 1
    assert "error: 00-plain ran out of memory with batches of 1024 examples." in said
    assert "Traceback" not in said
    command = said.split("Go on with: aepretrain ")[1].split()
    assert command[:-2] == [str(word) for word in words]
    code, said = runner.run(*command, strike=little)
    if code == 1:  # it was an estimate: the next one begins there
        command = said.split("Go on with: aepretrain ")[1].split()
        code, said = runner.run(*command, strike=little)
    assert code == 0, said
    assert len(rows(tmp_path / "out")) == 2


def test_a_killed_comparison_goes_on_and_ends_with_the_same_table(undisturbed, tmp_path):
    words = ["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out")]
    process = programs.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table = tmp_path / "out" / "results.csv"
    deadline = time.monotonic() + 120
    while not (table.is_file() and len(table.read_text().splitlines()) > 3):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(rows(tmp_path / "out")) < 16
    assert main(words) == 0
    assert rows(tmp_path / "out") == rows(undisturbed)


LONG = {
    "pretrain": {"epochs": 120},
    "finetune": {"epochs": 120, "batch_size": 16},
    "compare": {"seeds": 2, "labels": [50], "arms": ["pretrained", "random"], "baselines": ["knn"]},
}


@pytest.fixture(scope="module")
def undisturbed_long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    assert main(["compare", "--config", write(folder, **LONG), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.parametrize(
    ("place", "workers", "signum", "everyone"),
    [
        pytest.param("pretraining-seed0/stages/00-denoising", 1, signal.SIGTERM, False, marks=SOAK),
        pytest.param("random-50-seed0/stages/classifier", 1, signal.SIGINT, True, marks=SOAK),
        pytest.param("pretraining-seed1/stages/00-denoising", 2, signal.SIGTERM, False, marks=SOAK),
        ("random-50-seed1/stages/classifier", 2, signal.SIGINT, True),
    ],
)
def test_a_comparison_that_is_stopped_saves_and_goes_on_with_the_same_table(
    place, workers, signum, everyone, undisturbed_long, tmp_path
):
    out = tmp_path / "out"
    words = ["compare", "--config", write(tmp_path, **LONG), "--out", str(out), "--workers", str(workers)]
    process = programs.start(*words, stderr=subprocess.STDOUT, start_new_session=True)
    stage = out / "runs" / place
    deadline = time.monotonic() + 120
    metrics = stage.parents[1] / "metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size > 2000):  # some epochs are done
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    start = time.monotonic()
    (os.killpg if everyone else os.kill)(process.pid, signum)  # a terminal tells all, a scheduler the first
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 128 + signum, said
    assert time.monotonic() - start < 15
    assert all_left(process)
    assert f"The same command goes on: aepretrain {' '.join(words)}" in said
    assert "Traceback" not in said
    saved = torch.load(stage / "last.ckpt", weights_only=True)
    assert saved["global_step"] > 0
    again = programs.run(*words)
    assert again.returncode == 0, again.stderr
    assert rows(out) == rows(undisturbed_long)
    for name in ("encoder/encoder.safetensors", "stages/00-denoising/model.safetensors"):
        paths = [folder / "runs" / "pretraining-seed1" / name for folder in (out, undisturbed_long)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    if workers == 1:
        assert f"goes on from {stage / 'last.ckpt'}" in again.stdout


@pytest.mark.parametrize(
    ("stage", "step"),
    [pytest.param("00-denoising", 20, marks=SOAK), ("01-denoising", 20), pytest.param("classifier", 3, marks=SOAK)],
)
def test_seeds_that_were_killed_together_begin_again_together_and_end_with_the_same_bits(stage, step, runner, tmp_path):
    file = write(tmp_path, layers=2 * SMALL["layers"], compare={**SMALL["compare"], "labels": [50]})
    words = ("compare", "--config", file, "--vectorize", "on", "--out")
    code, said = runner.run(*words, tmp_path / "golden")
    assert code == 0, said
    assert runner.run(*words, tmp_path / "out", strike={"stage": stage, "step": step})[0] == -signal.SIGKILL
    code, said = runner.run(*words, tmp_path / "out")
    assert code == 0, said
    assert ("pretraining seeds 0, 1 finished" in said) == (stage != "classifier")
    assert rows(tmp_path / "out") == rows(tmp_path / "golden")
    for seed in (0, 1):
        name = f"runs/pretraining-seed{seed}/encoder/encoder.safetensors"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "golden" / name).read_bytes()
    assert not list((tmp_path / "out" / "runs").glob("together*"))


@pytest.fixture(scope="module")
def together(runner, tmp_path_factory):
    """The words of a comparison that trains its seeds at once, and its undisturbed directory."""
    folder = tmp_path_factory.mktemp("together")
    file = write(folder, compare={**SMALL["compare"], "labels": [50], "arms": ["pretrained"]}, loggers=["csv"])
    words = ("compare", "--config", file, "--vectorize", "on", "--out")
    code, said = runner.run(*words, folder / "out")
    assert code == 0, said
    return words, folder / "out"


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("together.json", marks=SOAK),
        pytest.param("pretraining-seed0/results.json", marks=SOAK),
        "pretraining-seed1/encoder/config.json",
        pytest.param("pretraining-seed1/results.json", marks=SOAK),
        pytest.param("together-pretrained-50.json", marks=SOAK),
        "pretrained-50-seed0/results.json",
        "pretrained-50-seed1/row.json",
        pytest.param("summary.json", marks=SOAK),
    ],
)
def test_seeds_that_were_killed_together_at_any_write_leave_nothing_behind(file, together, runner, tmp_path):
    words, golden = together
    out = tmp_path / "out"
    assert runner.run(*words, out, file=file)[0] == -signal.SIGKILL
    code, said = runner.run(*words, out)
    assert code == 0, said
    timed = ("state.json", "results.csv", "metrics.csv")
    assert [name for name in differences(golden, out) if Path(name).name not in timed] == []
    assert rows(out) == rows(golden)
    for path in golden.rglob("metrics.csv"):  # each logger was told every row once
        assert _lines(path) == _lines(out / path.relative_to(golden))


def _lines(path):
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("verb", ["compare", "fit"])
@pytest.mark.parametrize("file", [".lock-owner.json", "config.yaml"])
def test_a_kill_before_the_config_is_written_leaves_a_directory_that_the_same_command_takes(
    file, verb, runner, tmp_path
):
    small = {"compare": {"seeds": 1, "labels": [50], "arms": ["random"], "baselines": ["knn"]}}
    words = (verb, "--config", write(tmp_path, **small), "--out", tmp_path / "out")
    assert runner.run(*words, file=file)[0] == -signal.SIGKILL
    for name in (".filelock-probe-0", ".probe"):  # what stands there for a moment only
        (tmp_path / "out" / name).touch()
    code, said = runner.run(*words)
    assert code == 0, said


def test_workers_leave_with_a_comparison_that_is_killed(tmp_path):
    words = ["compare", "--config", write(tmp_path, **LONG), "--out", str(tmp_path / "out"), "--workers", "2"]
    process = programs.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "runs" / "pretraining-seed0" / "metrics.jsonl").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(members(process)) > 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all_left(process, 10)


def test_a_further_seed_runs_only_what_is_new(undisturbed, tmp_path):
    folder = tmp_path / "out"
    config = write(tmp_path, compare={**SMALL["compare"], "seeds": 1})
    assert main(["compare", "--config", config, "--out", str(folder)]) == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("row.json")}
    assert main(["compare", "--config", write(tmp_path), "--out", str(folder)]) == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("row.json")}.items()
    assert rows(folder) == rows(undisturbed)


def test_a_comparison_needs_a_classifier_and_one_device(tmp_path, capsys):
    config = write(tmp_path, data="OneHotPatterns")
    assert main(["compare", "--config", config, "--out", str(tmp_path / "a")]) == 2
    assert "a comparison needs labels" in capsys.readouterr().err
    two = ("--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")
    assert main(["compare", "--config", write(tmp_path), "--out", str(tmp_path / "b"), *two]) == 2
    assert "Set trainer.devices to 1" in capsys.readouterr().err


def test_layers_that_can_learn_to_copy_are_warned_of_before_the_first_one(tmp_path, capsys):
    wide = {"class_path": "PlainAutoencoder", "init_args": {"coder": {"class_path": "Dense", "init_args": {}}}}
    wide["init_args"]["coder"]["init_args"]["features"] = 100
    small = {"seeds": 1, "labels": [50], "baselines": [], "arms": ["random"]}
    file = write(tmp_path, layers=[wide], compare=small)
    assert main(["compare", "--config", file, "--out", str(tmp_path / "out")]) == 0
    assert "warning: layer 0 (00-plain) is overcomplete" in capsys.readouterr().out.partition("1/1")[0]


def test_the_folder_of_a_comparison_is_no_run_to_evaluate_but_its_cells_are(undisturbed, capsys):
    assert main(["evaluate", str(undisturbed)]) == 2
    assert f"holds a comparison, whose runs are in {undisturbed / 'runs'}" in capsys.readouterr().err
    assert main(["evaluate", str(undisturbed / "runs" / "random-50-seed0")]) == 0


def test_a_run_and_a_comparison_never_mix_in_one_folder(undisturbed, tmp_path, capsys):
    before = {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    assert main(["fit", "--resume", str(undisturbed)]) == 2
    assert f"{undisturbed} holds a comparison, whose runs are in" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()} == before
    file, run = write(tmp_path), tmp_path / "run"
    assert main(["fit", "--config", file, "--out", str(run)]) == 0
    assert main(["compare", "--config", file, "--out", str(run)]) == 2
    assert f"{run} holds a run of fit, with which a comparison would mix. Name a new one" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, capsys):
    folder = Path(tmp_path / "out")
    folder.mkdir()
    (folder / "thesis.tex").write_text("...")
    assert main(["compare", "--config", write(tmp_path), "--out", str(folder)]) == 2
    assert "is not empty and holds no comparison" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_the_control_is_a_network_of_its_own_with_the_same_batches(tmp_path, monkeypatch):
    control = Experiment([lambda s: DenoisingAutoencoder(s, Dense(8, "relu"))], Digits(), Pretraining(1))
    watch = Watch(monkeypatch)
    control = replace(control, finetune=FineTuning(3, 16))
    both = bench(experiment(), tmp_path, control=control)
    assert both.run(Cell("control-pretrained", 0, 50)).steps == 3 * 4
    assert watch.start["encoder.0.1.weight"].shape == (8, 64)
    batches = watch.batches
    both.run(Cell("control-random", 0, 50))
    assert all(torch.equal(*inputs) for inputs in zip(batches[0], watch.batches[0], strict=True))
    assert (tmp_path / "pretraining-control-seed0" / "encoder").is_dir()
    assert not (tmp_path / "pretraining-seed0").exists()


def _validations(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["value"] for row in rows if row["name"] == "val/accuracy"]


RATE = "classifier.optimizer.init_args.lr"
GRID = {"seeds": 2, "labels": [50], "baselines": ["knn"], "splits": "fixed", "grid": {RATE: [1e-5, 0.03]}}
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}


@pytest.mark.parametrize("splits", ["fixed", "per-seed"])
def test_every_arm_has_as_many_trials_and_a_split_is_searched_once(splits, tmp_path, capsys):
    """Where seeds share the splits, the first one searches; else validation data of one seed would test another."""
    config = write(tmp_path, compare={**GRID, "splits": splits}, classifier={"optimizer": ADAM})
    assert main(["compare", "--config", config, "--out", str(tmp_path / "out")]) == 0
    assert "2 settings and the epoch chosen on 300 validation labels" in capsys.readouterr().out
    runs = tmp_path / "out" / "runs"
    for arm in ("pretrained", "random", "probe"):
        first, second = (json.loads((runs / f"{arm}-50-seed{seed}" / "row.json").read_text()) for seed in (0, 1))
        assert first["hyperparameters"] == second["hyperparameters"] == {RATE: 0.03}
        assert (runs / f"{arm}-50-seed1" / "trials").exists() == (splits == "per-seed")
        for row, folder in ((first, "seed0"), (second, "seed1"))[: 2 if splits == "per-seed" else 1]:
            trials = runs / f"{arm}-50-{folder}" / "trials"
            assert len(list(trials.iterdir())) == 1
            assert max(_validations(trials / "0")) < row["validation_accuracy"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"pretrain.epochs": [1, 2]}, "Pretraining is shared by all arms"),
        ({"finetune.epochs": []}, "must be a list of values to try"),
        ({"finetune.epoch": [1]}, "--finetune.epoch is not an option. Did you mean --finetune.epochs?"),
        ({"finetune.epochs": ["many"]}, "compare.grid {'finetune.epochs': 'many'}: "),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused(tmp_path, capsys, grid, message):
    config = write(tmp_path, compare={"seeds": 1, "grid": grid})
    assert main(["compare", "--config", config, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_combination_that_diverges_loses(tmp_path):
    good, bad = experiment(), experiment(classifier=partial(Classifier, optimizer=partial(SGD, lr=1e30)))
    trials = [Trial(good, settings={"lr": 1}), Trial(bad, settings={"lr": 1e30})]
    assert Bench(Comparison(), trials, tmp_path).run(Cell("random", 0, 50)).hyperparameters == {"lr": 1}
    with pytest.raises(DivergedError, match=r"every combination of compare\.grid diverged"):
        Bench(Comparison(), [trials[1]] * 2, tmp_path).run(Cell("random", 1, 50))


def test_two_workers_find_what_one_finds(undisturbed, tmp_path, capsys):
    command = ["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert main(command) == 0
    assert rows(tmp_path / "out") == rows(undisturbed)
    assert "16/16  " in capsys.readouterr().out


def test_a_dask_cluster_finds_what_one_process_finds(undisturbed, tmp_path):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        where = ("--backend", "dask", "--address", cluster.scheduler_address)
        assert main(["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out"), *where]) == 0
    assert rows(tmp_path / "out") == rows(undisturbed)


def test_a_ray_cluster_finds_what_one_process_finds(undisturbed, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it stores a token in the home otherwise
    before = signal.getsignal(signal.SIGTERM)
    try:
        command = ["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out"), "--backend", "ray"]
        assert main(command) == 0
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        ray.shutdown()
    assert rows(tmp_path / "out") == rows(undisturbed)


def test_a_ray_cluster_that_is_not_there_is_found_out_at_once(tmp_path, capsys):
    pytest.importorskip("ray")
    where = ("--backend", "ray", "--address", "127.0.0.1:1")
    assert main(["compare", "--config", write(tmp_path), "--out", str(tmp_path / "out"), *where]) == 2
    assert "--address 127.0.0.1:1: there is no Ray cluster" in capsys.readouterr().err


def test_a_control_and_the_arms_that_use_it_come_together(tmp_path, capsys):
    config = write(tmp_path, compare={"arms": ["random", "control-random"]})
    assert main(["compare", "--config", config, "--out", str(tmp_path / "a")]) == 2
    assert "Give its layers under control.layers" in capsys.readouterr().err
    config = write(tmp_path, control={"layers": SMALL["layers"]})
    assert main(["compare", "--config", config, "--out", str(tmp_path / "b")]) == 2
    assert "Add control-random to compare.arms" in capsys.readouterr().err
    config = write(tmp_path, control={"layer": SMALL["layers"]})
    assert main(["compare", "--config", config, "--out", str(tmp_path / "b")]) == 2
    assert "unknown key 'control.layer'. Did you mean layers?" in capsys.readouterr().err


def test_the_summary_names_what_was_best_and_answers_at_equal_compute_and_for_the_control():
    comparison = Comparison(
        arms=["pretrained", "random", "random-longer", "control-pretrained", "control-random"],
        seeds=3,
        baselines=["svm"],
    )
    accuracy = {
        "pretrained": 0.93, "random": 0.90, "random-longer": 0.94,
        "control-pretrained": 0.95, "control-random": 0.97, "svm": 0.96,
    }  # fmt: skip
    found = [
        CellResult(cell.arm, cell.seed, "all", 0.9, test_accuracy=accuracy[cell.arm] + 0.001 * cell.seed)
        for cell in comparison.cells()
    ]
    data = DataFacts("Digits", (1, 8, 8), 10, unlabelled=1197, labelled=1197, validation=300, test=10_000)
    (budget,) = summarize(found, comparison, data).budgets
    assert budget.best == "control-random"
    assert budget.verdict.startswith("helps: +3.0 points")
    assert budget.longer_verdict.startswith("hurts: -1.0 points")
    assert budget.control_verdict.startswith("hurts: -2.0 points")
    assert budget.differences["pretrained - control-random"].mean == pytest.approx(-0.04)


def test_a_worker_that_the_system_ends_is_one_line_that_names_its_cells_and_what_needs_less(undisturbed_long, tmp_path):
    out = tmp_path / "out"
    words = ["compare", "--config", write(tmp_path, **LONG), "--out", str(out), "--workers", "2"]
    process = programs.start(*words, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline, places = time.monotonic() + 120, [out / "runs" / f"pretraining-seed{seed}" for seed in (0, 1)]
    while not all(_size(place / "metrics.jsonl") for place in places):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(_worker(process), signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert said == (
        "aepretrain: error: a worker was ended by the system (SIGKILL) while pretraining-seed0, pretraining-seed1 ran, "
        "as happens when memory runs out. Fewer --workers than 2, or a smaller data.memory_budget, need less. Finished "
        f"cells and checkpoints are intact. Go on with: aepretrain {' '.join(words)} --workers 1\n"
    )
    assert all_left(process)
    assert main([*words, "--workers", "1"]) == 0
    assert rows(out) == rows(undisturbed_long)


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _worker(process):
    """The id of a worker of a comparison: a process of its group that holds one of its runs open, or runs a job."""
    for pid in members(process):
        if pid != process.pid and "popen_loky" in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise AssertionError(members(process))
