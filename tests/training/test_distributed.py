"""Two gloo processes on the CPU, started as users start them: by Lightning's launcher and by torchrun."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support import programs

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
SHORT = ("--pretrain.epochs", "2", "--finetune.epochs", "2", "--report", "false")


def start(words, port):
    environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "MASTER_PORT": str(port)}
    if words[0] != "-m":
        answer = programs.run_script(*words, env=environment)
    else:
        answer = subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, check=False,
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


@pytest.mark.parametrize("launcher", ["lightning", pytest.param("torchrun", marks=pytest.mark.soak)])
def test_ranks_see_disjoint_shares_and_end_every_stage_with_equal_weights(launcher, tmp_path):
    program = [ROOT / "tests" / "support" / "shares.py", tmp_path]
    start([*TORCHRUN, "--master-port=29511", *program] if launcher == "torchrun" else program, 29512)
    for stage in (0, 1, 2, 3):
        ranks = [json.loads((tmp_path / f"stage{stage}-rank{rank}.json").read_text()) for rank in (0, 1)]
        assert ranks[0]["processes"] == 2
        assert ranks[0]["weights"] == ranks[1]["weights"]
        for mine, theirs in zip(ranks[0]["rows"], ranks[1]["rows"], strict=True):
            assert not set(mine) & set(theirs)
        per_epoch = len(ranks[0]["rows"]) // 2
        seen = Counter(value for rank in ranks for batch in rank["rows"][:per_epoch] for value in batch)
        assert set(seen.values()) == {1}
        assert len(seen) == 61
    figures = json.loads((tmp_path / "figures.json").read_text())
    for name in ("loss", "accuracy", "error"):  # of 21 examples, 11 and 10 to each
        assert figures["together"][name] == pytest.approx(figures["alone"][name], rel=1e-5)
    figures = json.loads((tmp_path / "regression.json").read_text())
    for name in ("loss", "r2", "rmse", "mae"):
        assert figures["together"][name] == pytest.approx(figures["alone"][name], rel=1e-4)


@pytest.fixture(scope="module")
def alone_and_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    config = ("fit", "--config", ROOT / "configs" / "digits.yaml", *SHORT)
    alone = programs.run(*config, "--out", folder / "alone")
    two = programs.run(*config, "--out", folder / "two", *TWO, env={**os.environ, "MASTER_PORT": "29514"})
    assert (alone.returncode, two.returncode) == (0, 0), alone.stderr + two.stderr
    return folder / "alone", folder / "two", two.stdout


def test_the_command_trains_with_two_processes_and_writes_every_file_once(alone_and_two):
    alone, two, shown = alone_and_two
    files = [{str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} for run in (alone, two)]
    assert files[0] == files[1]
    rows = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    keys = Counter((row["stage"], row["epoch"], row["name"]) for row in rows)
    assert set(keys.values()) == {1}
    assert shown.count("run directory") == 1
    assert shown.count("00-denoising  64 to 256") == 1


def test_two_processes_find_what_one_finds(alone_and_two):
    alone, two, _ = (
        json.loads((run / "results.json").read_text()) if isinstance(run, Path) else run for run in alone_and_two
    )
    assert (alone["processes"], two["processes"]) == (1, 2)
    for one, other in zip(alone["stages"], two["stages"], strict=True):
        assert one["steps"] == other["steps"]
        assert other["losses"]["reconstruction"] == pytest.approx(one["losses"]["reconstruction"], rel=0.05)
    for result in (alone, two):
        assert sum(map(sum, result["classifier"]["test"]["confusion_matrix"])) == 300
        assert result["classifier"]["weights_arrived"] is True


def test_a_batch_that_cannot_be_shared_is_refused_on_all_ranks(tmp_path):
    config = ("fit", "--config", ROOT / "configs" / "digits.yaml", *SHORT, "--pretrain.batch_size", "33")
    answer = programs.run(*config, "--out", tmp_path / "run", *TWO, env={**os.environ, "MASTER_PORT": "29515"})
    assert answer.returncode == 2
    assert "33 cannot be shared equally by 2. Use a multiple of 2." in answer.stderr


def test_torchrun_runs_the_command(tmp_path):
    config = ["-m", "aepretrain", "fit", "--config", ROOT / "configs" / "digits.yaml", *SHORT, *TWO]
    start([*TORCHRUN, "--master-port=29516", *config, "--out", tmp_path / "run"], 29517)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["processes"] == 2
    assert load_file(tmp_path / "run" / "encoder" / "encoder.safetensors")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_of_torchrun_want_the_run_directory_named(rank, tmp_path):
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_PORT": "29518"}
    words = ("fit", "--config", ROOT / "configs" / "digits.yaml", *SHORT, *TWO)
    answer = programs.run(*words, cwd=tmp_path, env={**os.environ, **own})
    assert answer.returncode == 2
    assert "several processes need to agree on the run directory: name it by --out" in answer.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.soak
def test_two_machines_find_what_two_processes_on_one_find(alone_and_two, tmp_path):
    config = ["fit", "--config", ROOT / "configs" / "digits.yaml", *SHORT, "--out", tmp_path / "run"]
    over = ["--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.devices=1"]
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1",
             "--master-addr=127.0.0.1", "--master-port=29519", "-m", "aepretrain", *map(str, [*config, *over])],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, stdout=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    assert [agent.wait(timeout=300) for agent in agents] == [0, 0]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["processes"] == 2
    for name in ("encoder", "stages/classifier/encoder"):
        found = (folder / name / "encoder.safetensors" for folder in (tmp_path / "run", alone_and_two[1]))
        assert len({path.read_bytes() for path in found}) == 1
