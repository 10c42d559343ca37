"""Weights & Biases: offline runs read back with its own tool, servers that fail, a process that dies, no secrets."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from aepretrain.cli.config import build_parser, parse
from aepretrain.cli.config_keys import accepted_keys
from aepretrain.errors import ConfigError
from aepretrain.tracking.options import Tracking, WandbOptions
from aepretrain.tracking.redaction import redact
from aepretrain.tracking.run import TrackedRun, open_run
from aepretrain.tracking.wandb_environment import ignored_by_comparisons, with_environment
from aepretrain.tracking.wandb_mode import decide_mode, has_key, server_answers
from aepretrain.tracking.wandb_report import build_report
from aepretrain.tracking.wandb_run import WandbRun
from tests.support.programs import ROOT, run_program
from tests.support.records import run_result
from tests.support.wandb_programs import COMMAND, PLANTED, SHORT, environment


def read_back(folder):
    """The records of the one run below a run directory, by type, as W&B's own tool shows them."""
    (run,) = folder.glob("wandb/offline-run-*")
    tool = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(run)]
    text = subprocess.run(tool, capture_output=True, text=True, check=True, timeout=60).stdout
    records = [json.loads(line) for line in text.splitlines()]
    by_type = {}
    for record in records:
        by_type.setdefault(record["type"], []).append(record[record["type"]])
    summary = {}
    for record in by_type["summary"]:
        summary |= record["update"]
    return SimpleNamespace(
        run=by_type["run"][0],
        axes={record["glob_name"]: record["step_metric"] for record in by_type.get("metric", [])},
        history=[record["item"] for record in by_type.get("history", [])],
        artifacts={record["type"]: record for record in by_type.get("artifact", [])},
        summary=summary,
        exit_code=by_type["exit"][0].get("exit_code"),
    )


@pytest.fixture(scope="module")
def silent_server():
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def fit(tmp_path_factory, silent_server):
    """A real ``fit`` with a key, whose server does not answer, followed by all loggers."""
    folder = tmp_path_factory.mktemp("fit")
    env = environment(folder, WANDB_API_KEY=PLANTED, WANDB_BASE_URL=silent_server, MY_PASSWORD=PLANTED)
    words = ["fit", "--config=configs/digits.yaml", f"--out={folder / 'run'}", *SHORT, PLANTED]
    words += ["--loggers=[wandb,tensorboard,csv]", "--wandb.report=true", "--wandb.tags=[mine]"]
    start = time.perf_counter()
    done = run_program(COMMAND, *words, env=env)
    assert done.returncode == 0, done.stderr
    seconds = time.perf_counter() - start
    return SimpleNamespace(folder=folder / "run", text=done.stdout, seconds=seconds, home=folder / "home")


@pytest.fixture(scope="module")
def record(fit):
    return read_back(fit.folder)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A real ``compare`` of two arms, offline."""
    folder = tmp_path_factory.mktemp("compare")
    words = ["compare", "--config=configs/digits.yaml", f"--out={folder / 'digits'}", *SHORT]
    words += ["--compare.seeds=1", "--compare.labels=[50]", "--compare.baselines=[knn]"]
    words += ["--compare.arms=[pretrained,random]"]
    done = run_program(COMMAND, *words, env=environment(folder, WANDB_MODE="offline"))
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder / "digits", text=done.stdout)


def test_a_server_that_does_not_answer_costs_seconds_and_says_how_to_sync(fit):
    results = json.loads((fit.folder / "results.json").read_text())
    assert results["classifier"]["weights_arrived"]
    assert "did not answer within 3 s" in fit.text
    assert fit.text.count("offline, because") == 1
    (run,) = fit.folder.glob("wandb/offline-run-*")
    assert f"wandb sync {run}" in fit.text
    assert "no report, because the run is offline" in fit.text


def test_a_planted_key_is_nowhere_in_the_files_of_the_run(fit):
    files = [path for path in fit.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        assert PLANTED.encode() not in path.read_bytes(), path
    assert not [path for path in fit.home.rglob("*") if "wandb" in path.name]


def test_every_layer_has_its_own_axis_and_the_classifier_is_called_finetune(record):
    stages = ("00-denoising", "01-denoising", "finetune")
    assert record.axes == {f"{stage}/*": f"{stage}/step" for stage in stages}
    for stage in stages:
        steps = [row[f"{stage}/step"] for row in record.history if f"{stage}/train/loss" in row]
        assert len(steps) == 2
        assert steps == sorted(steps)
        assert all(f"{stage}/val/loss" in record.summary for stage in stages)
    for row in record.history:
        assert len({key.split("/")[0] for key in row if "/" in key}) == 1


def test_every_scalar_of_metrics_jsonl_is_logged_with_the_same_value(fit, record):
    rows = [json.loads(line) for line in (fit.folder / "metrics.jsonl").read_text().splitlines()]
    logged = {}
    for row in record.history:
        for key, value in row.items():
            logged.setdefault(key, []).append(value)
    for row in rows:
        stage = "finetune" if row["stage"] == "classifier" else row["stage"]
        assert row["value"] in logged[f"{stage}/{row['name']}"]


def test_a_run_has_its_job_type_tags_config_pictures_results_and_encoder(fit, record):
    assert (record.run["job_type"], record.run["tags"]) == ("fit", ["mine"])
    assert not record.run.get("host")
    assert "run_group" not in record.run
    config = yaml.safe_load((fit.folder / "config.yaml").read_text())
    logged = record.run["config"]["update"]
    for key in config:
        assert logged[key] == config[key]
    for key in ("00-denoising/filters", "00-denoising/reconstructions", "01-denoising/curves", "finetune/curves"):
        (row,) = (row for row in record.history if f"{key}._type" in row)
        assert row[f"{key}._type"] == "image-file"
        assert f"{key.split('/')[0]}/step" in row
    results = json.loads((fit.folder / "results.json").read_text())
    assert record.summary["test/accuracy"] == results["classifier"]["test"]["accuracy"]
    assert record.summary["validation/error"] == results["classifier"]["validation"]["error"]
    encoder = record.artifacts["model"]
    assert {entry["path"] for entry in encoder["manifest"]["contents"]} >= {"config.json", "encoder.safetensors"}
    assert json.loads(encoder["metadata"]) == json.loads((fit.folder / "encoder" / "config.json").read_text())
    assert record.exit_code == 0


def test_tensorboard_and_csv_have_the_names_of_metrics_jsonl(fit):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [json.loads(line) for line in (fit.folder / "metrics.jsonl").read_text().splitlines()]
    for stage in ("00-denoising", "classifier"):
        names = {row["name"] for row in rows if row["stage"] == stage}
        events = EventAccumulator(str(fit.folder / "tensorboard" / stage)).Reload()
        assert set(events.Tags()["scalars"]) == names | {"epoch"}
        header = (fit.folder / "csv" / stage / "metrics.csv").read_text().splitlines()[0]
        assert set(header.split(",")) == names | {"epoch", "step"}


def test_a_comparison_is_one_group_with_a_run_per_cell(comparison):
    runs = {path.name: read_back(path) for path in (comparison.folder / "runs").iterdir() if (path / "wandb").is_dir()}
    assert runs.keys() == {"pretraining-seed0", "pretrained-50-seed0", "random-50-seed0"}
    assert {entry.run["run_group"] for entry in runs.values()} == {"digits"}
    cell = runs["pretrained-50-seed0"]
    assert cell.run["job_type"] == "pretrained"
    assert set(cell.run["tags"]) == {"pretrained", "seed-0", "labels-50"}
    assert cell.run["config"]["update"]["encoder"] == runs["pretraining-seed0"].artifacts["model"]["name"]
    assert runs["pretraining-seed0"].run["job_type"] == "pretraining"
    assert any("00-denoising/filters._type" in row for row in runs["pretraining-seed0"].history)
    keys = [set().union(*runs[f"{arm}-50-seed0"].history) for arm in ("pretrained", "random")]
    assert keys[0] == keys[1]
    assert "finetune/val/error" in keys[0]


def test_a_comparison_is_summed_up_in_a_run_with_a_table_of_all_rows(comparison):
    summed = read_back(comparison.folder)
    assert (summed.run["job_type"], summed.run["run_group"]) == ("summary", "digits")
    assert summed.summary["results._type"] == "table-file"
    (table,) = comparison.folder.glob("wandb/offline-run-*/files/media/table/*.json")
    table = json.loads(table.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["arm"] for row in rows] == ["pretrained", "random", "knn"]
    text = json.loads((comparison.folder / "summary.json").read_text())
    (budget,) = text["budgets"]
    assert summed.summary["labels-50/random/mean"] == budget["arms"]["random"]["mean"]
    assert summed.summary["labels-50/verdict"] == budget["verdict"]
    assert f"wandb sync {comparison.folder}/wandb/offline-run-*" in comparison.text


DIES = """
import os, signal, subprocess, sys
from pathlib import Path
from aepretrain import DenoisingAutoencoder, Dense, Digits, Experiment, FineTuning, Pretraining
from aepretrain.tracking.options import Tracking, WandbOptions
from aepretrain.tracking.run import open_run
from aepretrain.training.epoch_log import EpochLog

def kill():
    words = ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "pid=,args="]  # else lines end with the screen
    listed = subprocess.run(words, capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        if "wandb-core" in line and "defunct" not in line:
            os.kill(int(line.split()[0]), signal.SIGKILL)
            print("killed", flush=True)

out = Path(sys.argv[1])
for name in ("disabled", "dies", "after"):
    (out / name / "stages").mkdir(parents=True)
def run(name, mode):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(16))
    tracking = Tracking(["wandb"], WandbOptions(mode=mode))
    lengths = {"pretrain": Pretraining(2), "finetune": FineTuning(2)}
    Experiment([layer], Digits(labels=50), **lengths, tracking=tracking, report=False).run(out / name)
run("disabled", "disabled")
assert "wandb" not in sys.modules
close_epoch = EpochLog.close_epoch
EpochLog.close_epoch = lambda *args: (kill(), close_epoch(*args))[1]
run("dies", "offline")
with open_run(Tracking(["wandb"], WandbOptions(mode="offline")), out / "after", job_type="fit") as after:
    after.log_figures({"fine": 1})
"""


def test_the_death_of_its_process_costs_one_line_and_the_next_run_has_a_new_process(tmp_path):
    done = run_program(DIES, tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") == 1
    assert done.stdout.count("warning: W&B failed") == 1
    assert "Traceback" not in done.stderr
    for name in ("disabled", "dies"):
        assert json.loads((tmp_path / name / "results.json").read_text())["classifier"]["epochs"] == 2
    assert not (tmp_path / "disabled" / "wandb").exists()
    assert read_back(tmp_path / "after").summary["fine"] == 1


@pytest.mark.parametrize(
    ("asked", "variable", "obstacle", "mode", "reason"),
    [
        ("auto", None, None, "online", None),
        ("auto", None, "no key", "offline", "no key"),
        ("auto", "offline", None, "offline", None),
        ("auto", "dryrun", None, "offline", None),
        ("auto", "disabled", None, "disabled", None),
        ("auto", "online", "no server", "offline", "no server"),
        ("auto", "nonsense", "no key", "offline", "no key"),
        ("online", "disabled", None, "online", None),
        ("online", "offline", "no server", "offline", "no server"),
        ("offline", "online", None, "offline", None),
        ("disabled", "online", None, "disabled", None),
    ],
)
def test_the_setting_decides_then_the_environment_then_what_can_be_had(asked, variable, obstacle, mode, reason):
    variables = {} if variable is None else {"WANDB_MODE": variable}
    assert decide_mode(asked, variables, lambda: obstacle) == (mode, reason)


def test_nobody_is_asked_where_online_is_not_wanted():
    assert decide_mode("offline", {}, lambda: pytest.fail("asked")) == ("offline", None)


def test_a_key_is_found_in_the_settings_or_in_the_netrc_entry_of_the_host(tmp_path, monkeypatch):
    settings = SimpleNamespace(api_key=None, identity_token_file=None, base_url="http://here:8080")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_key(settings)
    (tmp_path / "netrc").write_text("machine elsewhere login user password abc\n")
    assert not has_key(settings)
    (tmp_path / "netrc").write_text("machine here:8080 login user password abc\n")
    assert has_key(settings)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert has_key(SimpleNamespace(api_key="abc", identity_token_file=None, base_url="http://here"))


class Refuses(http.server.BaseHTTPRequestHandler):
    """Answers, if only that it will not."""

    def do_GET(self):
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_a_server_answers_whatever_it_says(status):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        server.status = status
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert server_answers(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_closed_port_and_a_silent_server_do_not_answer(silent_server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not server_answers(f"http://127.0.0.1:{port}")
    start = time.perf_counter()
    assert not server_answers(silent_server, seconds=0.5)
    assert time.perf_counter() - start < 2


def test_what_looks_like_a_secret_is_redacted_at_any_depth():
    settings = {"data": {"API_KEY": "a", "parts": [{"dbPassword": "b"}]}, "hf_token": ["c"], "Secret": {"d": 1}, "e": 2}
    assert redact(settings) == {
        "data": {"API_KEY": "(redacted)", "parts": [{"dbPassword": "(redacted)"}]},
        "hf_token": "(redacted)",
        "Secret": "(redacted)",
        "e": 2,
    }


def test_the_config_that_wandb_gets_is_redacted(tmp_path, monkeypatch):
    given, started = [], SimpleNamespace(settings=SimpleNamespace(sync_dir=str(tmp_path)))
    monkeypatch.setattr("wandb.init", lambda **about: given.append(about["config"]) or started)
    config = {"seed": 1, "data": {"api_token": PLANTED, "rows": [{"password": PLANTED}]}}
    about = {"mode": "offline", "name": "x", "job_type": "fit", "group": None, "tags": [], "config": config}
    WandbRun(tmp_path, WandbOptions(), **about)
    assert given == [{"seed": 1, "data": {"api_token": "(redacted)", "rows": [{"password": "(redacted)"}]}}]


def test_there_is_no_option_for_a_key():
    assert not [name for name in accepted_keys(WandbOptions) if "key" in name or "token" in name]


def test_a_logger_without_its_package_is_refused_before_training(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"aepretrain\[tensorboard\]"):
        Tracking(["tensorboard"]).check()
    with pytest.raises(ConfigError, match=r"aepretrain\[wandb-report\]"):
        Tracking(["wandb"], WandbOptions(report=True)).check()


def test_disabled_is_metrics_jsonl_alone(tmp_path, capsys):
    with open_run(Tracking(["wandb"], WandbOptions(report=True)), tmp_path, job_type="fit") as run:
        assert [type(logger).__name__ for logger in run.loggers("a")] == ["MetricsFile"]
        run.log_outcome(run_result(), encoder=tmp_path)
        run.publish_report()
    assert not list(tmp_path.iterdir())
    assert isinstance(run, TrackedRun)
    assert "no report, because nothing is logged to W&B" in capsys.readouterr().out


@pytest.mark.parametrize(("score", "curve"), [("error", "error"), ("r2", "r2"), ("squared_error", "reconstruction")])
@pytest.mark.parametrize("group", [None, "compare"])
def test_a_report_is_built_of_panels_that_its_classes_accept(group, score, curve):
    pytest.importorskip("wandb_workspaces")
    run = SimpleNamespace(entity="me", project="mine", group=group, name="digits", id="abc")
    report = build_report(run, ["00-denoising", "finetune"], ["pictures/curve"], score)
    (grid,) = report.blocks
    panels = [panel._to_model().model_dump_json(by_alias=True) for panel in grid.panels]
    assert any('"xAxis":"finetune/step"' in panel and f'"finetune/val/{curve}"' in panel for panel in panels)
    assert any(f"summary_metrics.test/{score}" in panel for panel in panels)
    assert any('"arm.value"' in panel for panel in panels) == (group is not None)
    assert (group or "abc") in grid.runsets[0].filters


def value_of(settings, names):
    """The value of a dotted name, whose way may lead through ``init_args`` unsaid."""
    for name in names:
        settings = settings[name] if name in settings else settings["init_args"][name]
    return settings


SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_calls_the_command_with_options_that_it_has_and_never_minimizes_the_test_error(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    sweep = yaml.safe_load(path.read_text())
    assert sweep["metric"] == {"name": "validation/error", "goal": "minimize"}
    chosen = {}
    for name, choice in sweep["parameters"].items():
        chosen[name] = choice.get("value", choice.get("values", [choice.get("min")])[-1])
    environment, program, verb, *words = sweep["command"]
    assert (environment, program, verb) == ("${env}", "aepretrain", "fit")
    given = [str(ROOT / word) if word.startswith("configs/") else word for word in words if word != "${args}"]
    given += [f"--{name}={value}" for name, value in chosen.items()]
    parsed = parse(build_parser("fit"), given, own=())
    resolved = yaml.safe_load(parsed.yaml)
    for name, value in chosen.items():
        assert value_of(resolved, name.split(".")) == value
    built = parsed.experiment.build_classifier(parsed.experiment.build_stack().encoder)
    built.configure_optimizers()


def test_there_are_sweeps():
    assert len(SWEEPS) >= 2


def test_name_tags_group_id_and_folder_of_the_environment_are_followed(tmp_path):
    mine = {"WANDB_NAME": "my name", "WANDB_TAGS": "b, mine", "WANDB_RUN_GROUP": "grp", "WANDB_RUN_ID": "abc123"}
    env = environment(tmp_path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path / "elsewhere"), **mine)
    words = ["fit", "--config=configs/digits.yaml", f"--out={tmp_path / 'run'}", *SHORT, "--report=false"]
    done = run_program(COMMAND, *words, "--wandb.tags=[mine]", env=env)
    assert done.returncode == 0, done.stderr
    found = read_back(tmp_path / "elsewhere").run
    assert (found["display_name"], found["run_group"], found["run_id"]) == ("my name", "grp", "abc123")
    assert found["tags"] == ["mine", "b"]
    (run,) = (tmp_path / "elsewhere" / "wandb").glob("offline-run-*-abc123")
    assert f"wandb sync {run}" in done.stdout
    assert not list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_a_comparison_says_that_it_ignores_what_is_of_one_run(tmp_path):
    options = WandbOptions(mode="offline", name="ours", tags=["a"])
    found = with_environment(options, {"WANDB_NAME": "x", "WANDB_TAGS": "b", "WANDB_RUN_GROUP": "g"}, single=True)
    assert (found.name, found.group, found.tags) == ("ours", "g", ["a", "b"])
    found = with_environment(WandbOptions(group="ours"), {"WANDB_NAME": "x", "WANDB_RUN_GROUP": "g"}, single=False)
    assert (found.name, found.group) == (None, "ours")
    assert ignored_by_comparisons({"WANDB_TAGS": "a", "WANDB_RUN_ID": ""}) is None
    env = environment(tmp_path, WANDB_MODE="offline", WANDB_NAME="x", WANDB_RUN_ID="abc", WANDB_RUN_GROUP="grp")
    words = ["compare", "--config=configs/digits.yaml", f"--out={tmp_path / 'out'}", *SHORT, "--report=false"]
    words += ["--compare.seeds=1", "--compare.labels=[50]", "--compare.baselines=[]", "--compare.arms=[random]"]
    done = run_program(COMMAND, *words, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WANDB_NAME and WANDB_RUN_ID are of one run, and a comparison has many") == 1
    cell = read_back(tmp_path / "out" / "runs" / "random-50-seed0").run
    assert (cell["display_name"], cell["run_group"]) == ("random-50-seed0", "grp")


STOPPED = """
import os, signal, sys
from aepretrain.cli.main import main
from aepretrain.training.epoch_log import EpochLog
close_epoch = EpochLog.close_epoch
EpochLog.close_epoch = lambda *args: (os.kill(os.getpid(), signal.SIGTERM), close_epoch(*args))[1]
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_what_sigterm_stopped_names_its_wandb_sync(verb, tmp_path):
    out = tmp_path / "an out"
    words = [verb, "--config=configs/digits.yaml", f"--out={out}", "--report=false"]
    if verb == "compare":
        words += ["--compare.seeds=1", "--compare.labels=[50]", "--compare.baselines=[]", "--compare.arms=[pretrained]"]
    done = run_program(STOPPED, *words, env=environment(tmp_path, WANDB_MODE="offline"))
    assert done.returncode == 143, done.stderr
    folders = list(out.glob("wandb/offline-run-*" if verb == "fit" else "runs/*/wandb/offline-run-*"))
    assert len(folders) == 1
    expected = f"'{folders[0]}'" if verb == "fit" else f"'{out}'/wandb/offline-run-* '{out}'/runs/*/wandb/offline-run-*"
    assert f"W&B: to send it later, wandb sync {expected}\n" in done.stdout
