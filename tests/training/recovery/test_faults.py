"""Faults injected into the command, beside a golden run that nothing disturbed: what is left must be equal bit for bit.

``pytest -m soak -n 0 -s`` kills at random places, 200 times or as often as AEPRETRAIN_SOAK says, from the seed
AEPRETRAIN_SEED, with steps taken as AEPRETRAIN_STEPS says.
"""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from aepretrain.runs.directory import locked
from aepretrain.storage.files import sha256_of
from tests.support.runs import VARIANTS, config, differences, stages_of

PLACES = (
    "in_step",
    "before_chunk",
    "after_step",
    "before_validation",
    "after_validation",
    "after_epoch",
)


@pytest.fixture(scope="module")
def golden(runner, tmp_path_factory):
    """The config of a variant, and the directory of its undisturbed run: each is run once."""
    done = {}

    def run(variant, precision="32-true"):
        if (variant, precision) not in done:
            folder = tmp_path_factory.mktemp(f"golden-{variant}-{precision}")
            mixed = precision != "32-true"
            steps = os.environ.get("AEPRETRAIN_STEPS", "auto")
            trainer = {"accelerator": "cpu", "precision": precision, "steps": steps}
            file = config(
                variant, folder, trainer=trainer, report=mixed
            )  # reports must not stand in the way of going on
            code, said = runner.run("fit", "--config", file, "--out", folder / "run")
            assert code == 0, said
            done[variant, precision] = file, folder / "run"
        return done[variant, precision]

    return run


def go_on(runner, out, golden_run):
    """Resume, and see that nothing is different from the undisturbed run."""
    code, said = runner.run("fit", "--resume", out)
    assert code == 0, said
    assert differences(golden_run, out) == []
    return said


@pytest.mark.parametrize(
    ("variant", "stage", "step", "place"),
    [
        # test_checkpoints.py stops every variant at every step, in one process.
        pytest.param("PlainAutoencoder", "00-plain", 1, "after_step", marks=pytest.mark.soak),
        pytest.param("SparseAutoencoder", "00-sparse", 20, "before_validation", marks=pytest.mark.soak),
        pytest.param("DropoutAutoencoder", "01-dropout", 3, "after_step", marks=pytest.mark.soak),
        pytest.param("ContractiveAutoencoder", "01-contractive", 13, "before_chunk", marks=pytest.mark.soak),
        pytest.param("RestrictedBoltzmannMachine", "00-boltzmann", 13, "after_step", marks=pytest.mark.soak),
        ("VariationalAutoencoder", "00-variational", 29, "after_step"),
        ("DenoisingAutoencoder", "01-denoising", 20, "after_epoch"),
        ("DenoisingAutoencoder", "classifier", 5, "in_step"),
        pytest.param("DenoisingAutoencoder", "classifier", 16, "after_validation", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_was_killed_ends_with_the_bits_of_one_that_was_not(
    variant, stage, step, place, runner, golden, tmp_path
):
    file, undisturbed = golden(variant)
    strike = {"stage": stage, "step": step, "place": place}
    assert runner.run("fit", "--config", file, "--out", tmp_path / "run", strike=strike)[0] == -signal.SIGKILL
    finished = list((tmp_path / "run").rglob("model.safetensors"))
    before = [(path.stat().st_mtime_ns, sha256_of(path)) for path in finished]
    go_on(runner, tmp_path / "run", undisturbed)
    assert [(path.stat().st_mtime_ns, sha256_of(path)) for path in finished] == before


@pytest.mark.parametrize(
    ("stage", "step"), [("01-variational", 14), pytest.param("classifier", 9, marks=pytest.mark.soak)]
)
def test_mixed_precision_goes_on_with_the_same_bits(stage, step, runner, golden, tmp_path):
    file, undisturbed = golden("VariationalAutoencoder", "bf16-mixed")
    strike = {"stage": stage, "step": step}
    runner.run("fit", "--config", file, "--out", tmp_path / "run", strike=strike)
    go_on(runner, tmp_path / "run", undisturbed)


@pytest.mark.soak
def test_a_run_may_be_killed_again_and_again(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    words = ("fit", "--config", file, "--out", tmp_path / "run")
    for stage, step in (("00-denoising", 6), ("00-denoising", 17), ("01-denoising", 2), ("classifier", 9)):
        code, said = runner.run(*words, strike={"stage": stage, "step": step})
        assert code == -signal.SIGKILL, said
        words = ("fit", "--resume", tmp_path / "run")
    go_on(runner, tmp_path / "run", undisturbed)


@pytest.mark.parametrize(("write", "stage"), [(3, "00-denoising"), (10, "01-denoising")])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before_it(write, stage, runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    out = tmp_path / "run"
    assert runner.run("fit", "--config", file, "--out", out, write=write)[0] == -signal.SIGKILL
    assert (out / "stages" / stage / "last.ckpt.part").is_file()
    said = go_on(runner, out, undisturbed)
    assert "removed what was half written: last.ckpt.part" in said


def killed(runner, golden, out, stage="01-denoising", step=14):
    file, undisturbed = golden("DenoisingAutoencoder")
    code, said = runner.run("fit", "--config", file, "--out", out, strike={"stage": stage, "step": step})
    assert code == -signal.SIGKILL, said
    return out / "stages" / stage, undisturbed


@pytest.mark.parametrize(
    ("damage", "stage"), [("truncated", "00-denoising"), ("empty", "classifier"), ("flipped", "classifier")]
)
def test_a_damaged_checkpoint_is_passed_over_loudly(damage, stage, runner, golden, tmp_path):
    folder, undisturbed = killed(runner, golden, tmp_path / "run", stage)
    data = bytearray((folder / "last.ckpt").read_bytes())
    data[len(data) // 3] ^= 4
    (folder / "last.ckpt").write_bytes({"truncated": data[:1000], "empty": b"", "flipped": data}[damage])
    said = go_on(runner, tmp_path / "run", undisturbed)
    assert "last.ckpt is damaged: it is not what was written. Trying the one before it." in said
    assert f"{stage}  goes on from {folder / 'previous.ckpt'}" in said


@pytest.mark.parametrize("stage", ["00-denoising", "01-denoising"])
def test_damage_to_both_checkpoints_is_an_error(stage, runner, golden, tmp_path):
    folder, _ = killed(runner, golden, tmp_path / "run", stage)
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / name).write_bytes(b"nothing")
    code, said = runner.run("fit", "--resume", tmp_path / "run")
    assert code == 5
    assert "last.ckpt, previous.ckpt are damaged. Remove them to start this stage again by --resume" in said
    assert "Traceback" not in said


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/aepretrain-hostile"),))


def test_a_hostile_checkpoint_is_never_run(runner, golden, tmp_path):
    folder, _ = killed(runner, golden, tmp_path / "run")
    torch.save({"state_dict": Hostile()}, folder / "last.ckpt")
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    state["stages"]["01-denoising"]["checkpoints"] = [sha256_of(folder / "last.ckpt")]
    (tmp_path / "run" / "state.json").write_text(json.dumps(state))
    code, said = runner.run("fit", "--resume", tmp_path / "run")
    assert code == 5
    assert "is no checkpoint of plain values (UnpicklingError), and nothing else is read" in said
    assert not Path("/tmp/aepretrain-hostile").exists()


@pytest.mark.parametrize("stage", ["00-denoising", "classifier"])
def test_sigterm_saves_at_the_next_step_and_leaves_with_143(stage, runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    out = tmp_path / "run"
    strike = {"stage": stage, "step": 6, "signum": signal.SIGTERM}
    own = ("--checkpoint.every_steps=null", "--trainer.chunk_steps=1")
    code, said = runner.run("fit", "--config", file, "--out", out, *own, strike=strike)
    assert code == 143
    assert f"stopped by SIGTERM in {stage} before step 6, which is saved." in said
    assert json.loads((out / "state.json").read_text())["status"] == "stopped"
    assert torch.load(out / "stages" / stage / "last.ckpt", weights_only=True)["global_step"] == 6
    assert runner.run("fit", "--resume", out)[0] == 0
    assert differences(undisturbed, out) == ["config.yaml"]  # every_steps, chunk_steps


@pytest.mark.parametrize("stage", ["01-denoising", "classifier"])
def test_ctrl_c_saves_and_prints_the_command_that_goes_on(stage, runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    out = tmp_path / "a run"
    strike = {"stage": stage, "step": 6, "signum": signal.SIGINT}
    code, said = runner.run("fit", "--config", file, "--out", out, strike=strike)
    assert code == 130
    assert f"Go on with: aepretrain fit --resume '{out}'" in said
    go_on(runner, out, undisturbed)


def test_a_second_ctrl_c_leaves_at_once(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    strike = {"stage": "01-denoising", "step": 2, "signum": signal.SIGINT, "times": 2}
    code, said = runner.run("fit", "--config", file, "--out", tmp_path / "run", strike=strike)
    assert code == 130
    assert "Go on with" not in said
    assert not list((tmp_path / "run" / "stages" / "01-denoising").glob("*.ckpt"))
    go_on(runner, tmp_path / "run", undisturbed)


def test_a_signal_in_the_last_validation_of_a_stage_stops_before_the_next(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    strike = {"stage": "00-denoising", "step": 30, "place": "after_validation", "signum": signal.SIGTERM}
    code, said = runner.run("fit", "--config", file, "--out", tmp_path / "run", strike=strike)
    assert code == 143
    assert "stopped by SIGTERM before 01-denoising." in said
    go_on(runner, tmp_path / "run", undisturbed)


@pytest.mark.parametrize("stage", ["01-denoising", "classifier"])
def test_a_full_disk_leaves_the_previous_checkpoint_and_says_what_is_needed(stage, runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    out = tmp_path / "run"
    strike = {"stage": stage, "step": 10, "largest_file": 8000}
    code, said = runner.run("fit", "--config", file, "--out", out, strike=strike)
    assert code == 5
    assert "last.ckpt cannot be written" in said
    assert "bytes needed" in said
    assert "free. Make room. What it held before is unchanged." in said
    assert f"Then go on with: aepretrain fit --resume {out}\n" in said
    assert torch.load(out / "stages" / stage / "last.ckpt", weights_only=True)["global_step"] == 8
    go_on(runner, out, undisturbed)


def test_a_directory_that_cannot_be_written_is_found_before_training(runner, golden):
    file, _ = golden("DenoisingAutoencoder")
    code, said = runner.run("fit", "--config", file, "--out", "/proc/aepretrain")
    assert code == 5
    assert "/proc/aepretrain cannot be" in said
    assert "00-denoising" not in said


def test_a_run_in_use_is_refused_and_its_owner_is_named(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    killed(runner, golden, tmp_path / "run")
    with locked(tmp_path / "run"):
        for words in (("--config", file, "--out", tmp_path / "run"), ("--resume", tmp_path / "run")):
            code, said = runner.run("fit", *words)
            assert code == 2
            assert f"is in use by process {os.getpid()} on " in said
        code, said = runner.run("compare", "--config", file, "--out", tmp_path / "run")
        assert (code, "is in use by process" in said) == (2, True)
    go_on(runner, tmp_path / "run", undisturbed)


def test_a_changed_config_is_refused_and_its_keys_are_listed(runner, golden, tmp_path):
    killed(runner, golden, tmp_path / "run")
    code, said = runner.run("fit", "--resume", tmp_path / "run", "--seed", "3", "--finetune.epochs=8")
    assert code == 2
    assert "was started with other settings: finetune.epochs, seed changed." in said
    code, said = runner.run("fit", "--resume", tmp_path / "run", "--out", tmp_path / "other")
    assert code == 2
    assert "name two directories" in said
    code, said = runner.run("fit", "--resume", tmp_path / "missing")
    assert code == 2
    assert "holds no run to resume" in said


def test_a_kill_before_the_config_is_written_leaves_a_directory_that_the_same_command_takes(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    words = ("fit", "--config", file, "--out", tmp_path / "run")
    assert runner.run(*words, file="config.yaml")[0] == -signal.SIGKILL
    assert (tmp_path / "run" / "config.yaml.part").is_file()
    assert not (tmp_path / "run" / "config.yaml").exists()
    code, said = runner.run(*words)
    assert code == 0, said
    assert differences(undisturbed, tmp_path / "run") == []


def test_a_run_of_a_version_without_a_setting_goes_on_with_its_default(runner, golden, tmp_path):
    _, undisturbed = killed(runner, golden, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["trainer"]["gradient_clip_val"], values["pretrain"]["codes"]
    path.write_text(yaml.safe_dump(values))
    assert "pretrain.codes changed" in runner.run("fit", "--resume", tmp_path / "run", "--pretrain.codes=float16")[1]
    go_on(runner, tmp_path / "run", undisturbed)


SPY = """
from aepretrain import PlainAutoencoder
class Layer(PlainAutoencoder): pass
Layer.__name__ = "../../../escape"
"""


@pytest.mark.parametrize("verb", ["validate", "fit"])
def test_names_that_leave_the_run_directory_are_refused(verb, runner, tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    file = config("PlainAutoencoder", tmp_path)
    values = yaml.safe_load(file.read_text())
    values["layers"][1]["class_path"] = "spy.Layer"
    file.write_text(yaml.safe_dump(values))
    before = {path.name for path in tmp_path.iterdir()}
    words = (verb, "--config", file, "--trust-module", "spy")
    code, said = runner.run(*words, folder=str(tmp_path))
    assert code == 2
    assert "a stage's name must have letters, digits, '_', '-' and '.' alone" in said
    assert "escape" in said
    assert len(said.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before


def test_the_same_command_with_resume_goes_on(runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    killed(runner, golden, tmp_path / "run")
    words = ("fit", "--config", file, "--out", tmp_path / "run", "--resume", tmp_path / "run")
    assert runner.run(*words)[0] == 0
    assert differences(undisturbed, tmp_path / "run") == []


SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "pretrain", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0", "SLURM_NODELIST": "node1", "SLURM_JOB_NODELIST": "node1", "SLURM_STEP_ID": "0",
}  # fmt: skip


@pytest.mark.parametrize("stage", [pytest.param("00-denoising", marks=pytest.mark.soak), "classifier"])
def test_a_job_that_slurm_requeues_goes_on_with_the_same_bits(stage, runner, golden, tmp_path):
    file, undisturbed = golden("DenoisingAutoencoder")
    out = tmp_path / "run"
    words = ("fit", "--config", file, "--out", out)
    strike = {"stage": stage, "step": 6, "signum": signal.SIGTERM}
    code, said = runner.run(*words, strike=strike, environment=SLURM)
    assert code == 143, said
    assert f"stopped by SIGTERM in {stage} before step" in said
    code, said = runner.run(*words, "--resume", out, environment={**SLURM, "SLURM_RESTART_COUNT": "1"})
    assert code == 0, said
    assert differences(undisturbed, out) == []


def test_a_finished_run_has_nothing_left_to_do(runner, golden):
    _, undisturbed = golden("DenoisingAutoencoder")
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    code, said = runner.run("fit", "--resume", undisturbed)
    assert code == 0
    assert "is finished: there is nothing left to do" in said
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("stage", ["01-denoising", "classifier"])
def test_divergence_leaves_with_4_and_keeps_a_finite_checkpoint(stage, runner, tmp_path):
    file = config("DenoisingAutoencoder", tmp_path)
    values, out = yaml.safe_load(file.read_text()), tmp_path / "run"
    wild = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e15 if stage != "classifier" else 1e38}}
    (values["classifier"] if stage == "classifier" else values["layers"][int(stage[:2])]["init_args"])["optimizer"] = (
        wild
    )
    file.write_text(yaml.safe_dump(values))
    code, said = runner.run("fit", "--config", file, "--out", out, "--checkpoint.every_steps=1")
    assert code == 4
    assert f"{stage}: " in said
    assert "Lower the learning rate of this stage" in said
    assert json.loads((out / "state.json").read_text())["status"] == "diverged"
    for path in (out / "stages" / stage).glob("*.ckpt"):
        kept = torch.load(path, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in kept.values())
    assert "Traceback" not in said


@pytest.mark.parametrize(("stage", "layer"), [pytest.param("00-plain", 0, marks=pytest.mark.soak), ("01-plain", 1)])
def test_a_stage_without_enough_memory_names_a_setting_that_fits(stage, layer, runner, tmp_path):
    file, out = config("PlainAutoencoder", tmp_path), tmp_path / "run"
    values = yaml.safe_load(file.read_text())
    values["layers"][layer]["init_args"]["coder"]["init_args"]["features"] = 4000
    values |= {"pretrain": {"epochs": 1, "batch_size": 1024}, "finetune": {"epochs": 0}, "report": False}
    file.write_text(yaml.safe_dump(values))
    little = {"stage": stage, "room": 40_000_000}
    code, said = runner.run("fit", "--config", file, "--out", out, strike=little)
    assert code == 1
    assert f"error: {stage} ran out of memory with batches of 1024 examples." in said
    assert "Finished stages and checkpoints are intact." in said
    assert "Traceback" not in said
    command = said.split("Go on with: aepretrain ")[1].split()
    assert command[:-1] == ["fit", "--resume", str(out), "--trainer.accumulate"]
    assert runner.run(*command, "--seed=1", strike=little)[0] == 2
    code, said = runner.run(*command, strike=little)
    if code == 1:  # it was an estimate: the next one begins there
        command = said.split("Go on with: aepretrain ")[1].split()
        code, said = runner.run(*command, strike=little)
    assert code == 0, said
    assert yaml.safe_load((out / "config.yaml").read_text())["trainer"]["accumulate"] == int(command[-1])
    assert runner.run("fit", "--config", file, "--out", tmp_path / "whole")[0] == 0
    weights = (load_file(folder / "stages" / stage / "model.safetensors") for folder in (out, tmp_path / "whole"))
    torch.testing.assert_close(*weights)


def test_a_run_goes_on_with_chunks_of_another_length_and_the_same_bits(runner, golden, tmp_path):
    _, undisturbed = killed(runner, golden, tmp_path / "run")
    code, said = runner.run("fit", "--resume", tmp_path / "run", "--trainer.chunk_steps=3")
    assert code == 0, said
    assert differences(undisturbed, tmp_path / "run") == ["config.yaml"]


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_kills_at_random_places_leave_no_trace(runner, golden, tmp_path):
    kills, seed = int(os.environ.get("AEPRETRAIN_SOAK", "200")), int(os.environ.get("AEPRETRAIN_SEED", "0"))
    draw, equal, start = random.Random(seed), 0, time.monotonic()
    for number in range(kills):
        variant, out = draw.choice(sorted(VARIANTS)), tmp_path / str(number)
        file, undisturbed = golden(variant)
        words = ("fit", "--config", file, "--out", out)
        places = []
        for _ in range(draw.choice((1, 1, 2))):
            stage, steps = draw.choice(sorted(stages_of(variant).items()))
            strike = {"stage": stage, "step": draw.randrange(1, steps + 1), "place": draw.choice(PLACES)}
            places.append(strike)
            code, said = runner.run(*words, strike=strike)
            if code == 0:  # the place of a second kill was passed before
                break
            assert code == -signal.SIGKILL, said
            words = ("fit", "--resume", out)
        code, said = runner.run("fit", "--resume", out)
        different = differences(undisturbed, out)
        equal += code == 0 and not different
        if code or different:
            print(f"kill {number}, {variant}, {places}: exit {code}, differs in {different}\n{said}")
    print(f"{equal} of {kills} equal bit for bit, seed {seed}, {time.monotonic() - start:.0f} s")
    assert equal == kills
