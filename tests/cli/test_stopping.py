"""The command is stopped at any time, and its reader or its terminal goes away."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support import programs
from tests.support.runs import ROOT

CONFIG = {
    "layers": [
        {
            "class_path": "DenoisingAutoencoder",
            "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 16}}},
        }
    ],
    "pretrain": {"epochs": 2},
    "finetune": {"epochs": 2},
    "compare": {"seeds": 1, "labels": [50], "arms": ["random"], "baselines": ["knn"]},
}
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP"}


def script():
    """What pip writes for the command."""
    module, name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["aepretrain"].split(":")
    return ["-c", f"import sys\nfrom {module} import {name}\nsys.exit({name}())"]


PROGRAMS = {"module": ["-m", "aepretrain"], "script": script()}


def piped(*words, program="module", environment=None, **options):
    """Start the command between pipes."""
    return subprocess.Popen(
        [sys.executable, *PROGRAMS[program], *map(str, words)],
        cwd=ROOT, text=True, env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def write(folder, **changes):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def wait_until_caught(process, signum=signal.SIGTERM):
    """Wait until Python has begun: until a signal no longer ends the process by itself."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        if int(caught[1], 16) >> (signum - 1) & 1:
            return
        time.sleep(0.002)
    raise TimeoutError


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("program", "seconds"),
    [
        ("module", 0),
        pytest.param("module", 0.2, marks=pytest.mark.soak),
        ("module", 0.5),
        pytest.param("module", 1, marks=pytest.mark.soak),
        ("module", 2),
        pytest.param("script", 0, marks=pytest.mark.soak),
        ("script", 1),
    ],
)
def test_from_the_first_moment_a_signal_leaves_with_its_code_and_one_line(program, seconds, signum, tmp_path):
    process = piped("fit", "--config", ROOT / "configs/digits.yaml", "--out", tmp_path / "run", program=program)
    wait_until_caught(process)
    time.sleep(seconds)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, said
    assert said.startswith(f"aepretrain: stopped by {NAMES[signum]}")
    assert len(said.splitlines()) == 1, said


SLOW = """
import os, sys, time
from aepretrain.cli.main import main
class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"leaving")
        sleep(1)
slow = Slow()
sys.exit(main())
"""


def test_a_signal_while_python_clears_away_changes_nothing():
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "--version"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline()
    assert process.stdout.read(7) == "leaving"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


@pytest.mark.parametrize("verb", ["validate", "evaluate", "report", "compare"])
def test_every_verb_leaves_with_one_line(verb, tmp_path):
    words = {"evaluate": [tmp_path], "report": [tmp_path]}.get(verb, ["--config", write(tmp_path)])
    process = piped(verb, *words, *(["--out", tmp_path / "out"] if verb == "compare" else []))
    wait_until_caught(process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "")
    assert said == "aepretrain: stopped by Ctrl-C; nothing is lost.\n"


def stop_at(line, signum, *words):
    """Send a signal when a line is printed; the code, what stood before, and what standard error says."""
    process, shown = programs.start(*words), ""
    while line not in shown:
        read = process.stdout.readline()
        assert read, process.communicate()
        shown += read
    process.send_signal(signum)
    said = process.communicate(timeout=60)[1]
    return process.returncode, shown, said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and a comparison, that were stopped while their reports were drawn."""
    folder, found = tmp_path_factory.mktemp("drawn"), {}
    for verb, signum in (("fit", signal.SIGTERM), ("compare", signal.SIGINT)):
        out = folder / f"a {verb}"
        words = (verb, "--config", write(folder), "--out", out)
        found[verb] = out, signum, stop_at("drawing the report", signum, *words)
    return found


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_a_signal_while_the_report_is_drawn_leaves_at_once_and_names_the_command_that_draws_it(verb, finished):
    out, signum, (code, _, said) = finished[verb]
    assert code == 128 + signum
    assert said == (
        f"aepretrain: stopped by {NAMES[signum]} while the report was drawn; all else is finished. "
        f"Draw it by: aepretrain report '{out}'\n"
    )
    assert (out / ("results.json" if verb == "fit" else "summary.json")).is_file()
    assert not (out / "report.html").exists()
    assert not list(out.glob(".lock*"))


def test_a_run_that_was_stopped_while_its_report_was_drawn_is_finished(finished):
    out = finished["fit"][0]
    assert json.loads((out / "state.json").read_text())["status"] == "finished"
    shown, said = programs.start("fit", "--resume", out).communicate(timeout=60)
    assert (f"{out} is finished: there is nothing left to do" in shown, said) == (True, "")


def test_the_verb_report_may_be_stopped_too(finished):
    out = finished["fit"][0]
    code, _, said = stop_at("drawing the report", signal.SIGTERM, "report", out)
    assert code == 143
    assert said.endswith(f"Draw it by: aepretrain report '{out}'\n")
    assert len(said.splitlines()) == 1
    process = programs.start("report", out)
    assert "report.html" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def test_a_signal_after_the_last_stage_is_not_swallowed(runner, tmp_path):
    file = write(tmp_path, report=False)
    strike = {"stage": "classifier", "step": 0, "place": "after_epoch", "signum": signal.SIGTERM}
    words = ("fit", "--config", file, "--out", tmp_path / "run", "--finetune.epochs", "1")
    code, said = runner.run(*words, strike=strike)
    assert code == 143, said
    assert said.splitlines()[-1] == "aepretrain: stopped by SIGTERM when all was done: the run is finished."
    assert json.loads((tmp_path / "run" / "state.json").read_text())["status"] == "finished"


def in_a_terminal(*words):
    """Start the command in a terminal of its own; the process, and the terminal's other end."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "aepretrain", *map(str, words)])
    return pid, master


LONG = ("--pretrain.epochs", "3000", "--report", "false")


def test_a_closed_terminal_saves_and_leaves_with_129(tmp_path):
    out = tmp_path / "run"
    pid, master = in_a_terminal("fit", "--config", write(tmp_path), "--out", out, *LONG)
    end, rows = time.monotonic() + 100, out / "metrics.jsonl"
    while not (rows.is_file() and rows.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert json.loads((out / "state.json").read_text())["status"] == "stopped"
    assert (out / "stages" / "00-denoising" / "last.ckpt").is_file()


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path):
    words = ("fit", "--config", write(tmp_path, report=False), "--out", tmp_path / "run")
    process = programs.start(*words, ignored=[signal.SIGHUP])
    assert process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=100)[1]
    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_stops_no_training(stream, tmp_path):
    out = tmp_path / "run"
    process = programs.start("fit", "--config", write(tmp_path, report=False), "--out", out)
    if stream == "stdout":
        assert process.stdout.readline()
    getattr(process, stream).close()
    setattr(process, stream, None)
    said = "".join(filter(None, process.communicate(timeout=100)))
    assert process.returncode == 0, said
    assert "BrokenPipe" not in said
    assert json.loads((out / "state.json").read_text())["status"] == "finished"
    log = (out / "train.log").read_text()
    assert "classifier  2 epochs" in log
    assert "run directory" in log


def test_help_may_be_cut_off():
    process = piped("--help")
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_a_later_process_leaves_ctrl_c_to_the_first_while_it_loads(tmp_path):
    words = ("validate", "--config", write(tmp_path))
    process = piped(*words, environment={"LOCAL_RANK": "1"})
    wait_until_caught(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 143
