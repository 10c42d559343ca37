"""Runs of two processes: what a signal, or the death of one of them, leaves is gone on with to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.support import programs
from tests.support.runs import ROOT, all_left, config, differences, members


class Pair:
    """Runs of two processes, each in a group of its own, and the undisturbed one to compare with."""

    def __init__(self, folder):
        self.folder, self.port = folder, 29600
        two = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
        pretrain = {"epochs": [2, 30], "batch_size": [128, 128]}
        self.file = config("DropoutAutoencoder", folder, trainer=two, pretrain=pretrain)
        self.golden = folder / "golden"
        self.finish(self.start("--config", self.file, "--out", self.golden))

    def start(self, *words, torchrun=False):
        self.port += 1
        options = {
            "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True,
            "env": {**os.environ, "MASTER_PORT": str(self.port)},
        }  # fmt: skip
        if not torchrun:
            return programs.start("fit", *words, **options)
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={self.port}"]
        program = [sys.executable, *launcher, "-m", "aepretrain", "fit", *map(str, words)]
        return subprocess.Popen(program, cwd=ROOT, text=True, **options)

    def finish(self, process):
        said = process.communicate(timeout=200)[0]
        assert process.returncode == 0, said

    def wait_for(self, out, stage):
        end, metrics = time.monotonic() + 120, out / "metrics.jsonl"
        while time.monotonic() < end and not (metrics.is_file() and f'"{stage}"' in metrics.read_text()):
            time.sleep(0.02)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return Pair(tmp_path_factory.mktemp("pair"))


def test_two_processes_stop_on_sigterm_in_a_later_stage_and_go_on_with_the_same_bits(pair, tmp_path):
    out = tmp_path / "run"
    process = pair.start("--config", pair.file, "--out", out)
    pair.wait_for(out, "01-dropout")
    process.terminate()  # the first process alone, as a scheduler may do it
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 143, said
    assert "stopped by SIGTERM in 01-dropout" in said
    assert all_left(process)
    process = pair.start("--resume", out)
    pair.wait_for(out, "classifier")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    pair.finish(pair.start("--resume", out))
    assert differences(pair.golden, out) == []


def test_two_processes_of_lightning_stop_together_on_a_signal(pair, tmp_path):
    out = tmp_path / "run"
    lightning = ("--trainer.engine", "lightning", "--pretrain.epochs", "500")
    process = pair.start("--config", pair.file, "--out", out, *lightning)
    pair.wait_for(out, "00-dropout")
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 143, said
    assert "stopped by SIGTERM in 00-dropout, which begins again" in said
    assert all_left(process)


@pytest.mark.soak
def test_under_torchrun_all_processes_save_on_sigterm_and_go_on_with_the_same_bits(pair, tmp_path):
    out = tmp_path / "run"
    process = pair.start("--config", pair.file, "--out", out, torchrun=True)
    pair.wait_for(out, "01-dropout")
    start = time.monotonic()
    process.terminate()  # torchrun passes it on to both
    said = process.communicate(timeout=60)[0]
    assert time.monotonic() - start < 20
    assert process.returncode != 0, said
    assert all_left(process)
    assert said.count("stopped by SIGTERM in 01-dropout") == 1, said
    assert json.loads((out / "state.json").read_text())["status"] == "stopped"
    assert torch.load(out / "stages" / "01-dropout" / "last.ckpt", weights_only=True)["global_step"] > 0
    pair.finish(pair.start("--resume", out, torchrun=True))
    assert differences(pair.golden, out) == []


@pytest.mark.parametrize(("rank", "stage"), [pytest.param(0, "00-dropout", marks=pytest.mark.soak), (1, "01-dropout")])
def test_of_two_processes_one_that_is_killed_takes_the_other_along(rank, stage, pair, tmp_path):
    out = tmp_path / "run"
    process = pair.start("--config", pair.file, "--out", out)
    pair.wait_for(out, stage)
    second = next(pid for pid in members(process) if pid != process.pid)
    os.kill(second if rank else process.pid, signal.SIGKILL)
    said = process.communicate(timeout=30)[0]  # both have closed their ends
    assert process.returncode in ((1, -signal.SIGKILL) if rank else (-signal.SIGKILL,)), said
    assert all_left(process)
    assert "another process of this run is gone" in said or process.returncode == -signal.SIGKILL
    assert "Traceback" not in said
    pair.finish(pair.start("--resume", out))
    assert differences(pair.golden, out) == []


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.soak), 1])
def test_of_two_processes_one_that_dies_before_they_have_met_takes_the_other_along(rank, pair, tmp_path):
    process = pair.start("--config", pair.file, "--out", tmp_path / "run")
    end = time.monotonic() + 60
    while time.monotonic() < end and len(members(process)) < 2:
        time.sleep(0.01)
    second = next(pid for pid in members(process) if pid != process.pid)
    os.kill(second if rank else process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # both have closed their ends
    assert process.returncode == -signal.SIGKILL
    assert all_left(process)
