"""Weights & Biases online, against a server on the loopback that keeps what it was sent."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.support.programs import run_program
from tests.support.wandb_programs import COMMAND, PLANTED, SHORT, environment
from tests.support.wandb_server import ENTITY, WandbServer

STAGES = ("00-denoising", "01-denoising", "finetune")
CELLS = ("--compare.seeds=2", "--compare.labels=[50]", "--compare.baselines=[knn]")
ARMS = "--compare.arms=[pretrained,random]"


def run_online(folder, verb, *words, server, **variables):
    """A run of the command to the end, in an environment that leads to the server."""
    env = environment(folder, WANDB_API_KEY=PLANTED, WANDB_BASE_URL=server.url, MY_PASSWORD=PLANTED, **variables)
    start = time.perf_counter()
    command = [verb, "--config=configs/digits.yaml", f"--out={folder / 'digits'}", *SHORT, "--report=false", *words]
    done = run_program(COMMAND, *command, PLANTED, env=env)
    assert done.returncode == 0, done.stderr
    seconds = time.perf_counter() - start
    return SimpleNamespace(folder=folder / "digits", text=done.stdout, seconds=seconds, server=server)


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """A real ``fit`` that is online."""
    with WandbServer().running() as server:
        words = ("--wandb.tags=[mine]", "--wandb.report=true")
        yield run_online(tmp_path_factory.mktemp("fit"), "fit", *words, server=server)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A real ``compare`` of two arms and seeds that is online."""
    with WandbServer(allows_reports=False).running() as server:
        words = (*CELLS, ARMS, "--wandb.report=true")
        yield run_online(tmp_path_factory.mktemp("compare"), "compare", *words, server=server)


@pytest.fixture
def run(fit):
    (run,) = fit.server.runs.values()
    return run


def test_a_run_is_online_at_the_address_that_is_printed_and_the_server_knew_every_question(fit, run):
    assert f"W&B: {fit.server.url}/{ENTITY}/aepretrain/runs/{run.bucket['name']}\n" in fit.text
    assert "offline" not in fit.text
    of_training = re.compile(r"warning: (\d\d-\w+|classifier): ")
    assert not [line for line in fit.text.splitlines() if "warning" in line and not of_training.match(line)]
    assert not fit.server.unknown


def test_every_scalar_of_metrics_jsonl_arrives_as_a_row_under_its_stages_key(fit, run):
    rows = [json.loads(line) for line in (fit.folder / "metrics.jsonl").read_text().splitlines()]
    arrived = {}
    for row in run.history:
        assert len({key.split("/")[0] for key in row if "/" in key}) == 1
        for key, value in row.items():
            arrived.setdefault(key, []).append(value)
    for row in rows:
        stage = "finetune" if row["stage"] == "classifier" else row["stage"]
        assert row["value"] in arrived[f"{stage}/{row['name']}"]
        assert row["step"] in arrived[f"{stage}/step"]
    assert {key.split("/")[0] for key in arrived if "/" in key} == set(STAGES)
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))


def test_summary_config_job_type_and_tags_arrive_and_the_exit_code_is_0(fit, run):
    results = json.loads((fit.folder / "results.json").read_text())
    assert run.summary["test/accuracy"] == results["classifier"]["test"]["accuracy"]
    assert run.summary["validation/error"] == results["classifier"]["validation"]["error"]
    config = yaml.safe_load((fit.folder / "config.yaml").read_text())
    # wandb-core leaves out what is empty.
    del config["compare"]["grid"]
    assert {key: run.config[key] for key in config} == config
    assert (run.bucket["displayName"], run.bucket["jobType"], run.bucket["tags"]) == ("digits", "fit", ["mine"])
    assert not run.bucket.get("groupName")
    assert run.exit_code == 0


def test_the_pictures_arrive_byte_for_byte(fit, run):
    pictures = {}
    for row in run.history:
        pictures |= {key: value for key, value in row.items() if isinstance(value, dict)}
    keys = {"00-denoising/filters", "00-denoising/reconstructions", *(f"{stage}/curves" for stage in STAGES)}
    assert pictures.keys() >= keys
    for key, picture in pictures.items():
        stage, name = key.replace("finetune", "classifier").split("/")
        assert run.files[picture["path"]] == (fit.folder / "stages" / stage / f"{name}.png").read_bytes()


def test_the_encoder_arrives_byte_for_byte_as_an_artifact_of_type_model(fit):
    (artifact,) = fit.server.artifacts.values()
    assert artifact.committed
    assert (artifact.about["artifactTypeName"], artifact.about["artifactCollectionName"]) == ("model", "encoder-digits")
    files = {path.name: path.read_bytes() for path in (fit.folder / "encoder").iterdir()}
    manifest = json.loads(artifact.files.pop("wandb_manifest.json"))
    assert artifact.files == files
    assert manifest["contents"].keys() == files.keys()
    assert json.loads(artifact.about["metadata"]) == json.loads(files["config.json"])


def test_a_report_is_saved_that_shows_the_curves_of_every_stage_and_the_pictures(fit, run):
    (report,) = fit.server.reports
    assert (report["entityName"], report["projectName"], report["displayName"]) == (ENTITY, "aepretrain", "digits")
    for stage in STAGES:
        assert f"{stage}/train/loss" in report["spec"]
        assert f"{stage}/curves" in report["spec"]
    assert run.bucket["name"] in report["spec"]
    assert f"W&B: report {fit.server.url}/{ENTITY}/aepretrain/reports/digits" in fit.text


def test_nothing_secret_is_sent_but_in_the_header_for_it(fit, run):
    assert len(fit.server.requests) > 20
    assert PLANTED.encode() not in fit.server.sent
    assert b"authorization" not in fit.server.sent.lower()
    assert not {"host", "repo", "commit"} & run.bucket.keys()
    assert run.bucket["program"] == "aepretrain"


def test_a_comparison_is_a_group_of_a_run_per_pretraining_and_cell_and_one_that_sums_it_up(comparison):
    runs = {run.bucket["displayName"]: run for run in comparison.server.runs.values()}
    cells = {f"{arm}-50-seed{seed}": arm for arm in ("pretrained", "random") for seed in (0, 1)}
    kinds = {**cells, "pretraining-seed0": "pretraining", "pretraining-seed1": "pretraining", "digits": "summary"}
    assert {name: run.bucket["jobType"] for name, run in runs.items()} == kinds
    assert len(comparison.server.runs) == len(kinds)
    assert {run.bucket["groupName"] for run in runs.values()} == {"digits"}
    assert {run.exit_code for run in runs.values()} == {0}
    assert set(runs["random-50-seed1"].bucket["tags"]) == {"random", "seed-1", "labels-50"}
    for name, arm in cells.items():
        results = json.loads((comparison.folder / "runs" / name / "results.json").read_text())
        assert runs[name].summary["test/accuracy"] == results["classifier"]["test"]["accuracy"]
        assert any("finetune/val/error" in row for row in runs[name].history)
        assert runs[name].config["arm"] == arm
    encoders = {artifact.about["artifactCollectionName"] for artifact in comparison.server.artifacts.values()}
    assert runs["pretrained-50-seed1"].config["encoder"] in encoders
    assert not comparison.server.unknown


def test_the_summary_of_a_comparison_arrives_with_a_table_of_all_rows(comparison):
    (run,) = (run for run in comparison.server.runs.values() if run.bucket["jobType"] == "summary")
    (budget,) = json.loads((comparison.folder / "summary.json").read_text())["budgets"]
    assert run.summary["labels-50/verdict"] == budget["verdict"]
    assert run.summary["labels-50/random/mean"] == budget["arms"]["random"]["mean"]
    table = json.loads(run.files[run.summary["results"]["path"]])
    assert [row[table["columns"].index("arm")] for row in table["data"]].count("random") == 2
    assert f"{comparison.server.url}/{ENTITY}/aepretrain/runs/{run.bucket['name']}\n" in comparison.text


def test_an_account_that_allows_no_reports_costs_one_line_and_not_the_run(comparison):
    assert comparison.text.count("warning: W&B") == 1
    assert "warning: W&B made no report (" in comparison.text
    assert "permission denied" in comparison.text
    assert {run.exit_code for run in comparison.server.runs.values()} == {0}


def test_a_server_that_fails_in_the_middle_is_waited_for_once_and_the_next_runs_are_offline(tmp_path):
    words = (*CELLS, "--compare.arms=[random]")
    with WandbServer(breaks_in_the_middle=True).running() as server:
        done = run_online(tmp_path, "compare", *words, server=server, WANDB_FINISH_TIMEOUT="2")
    assert server.refused
    assert len(server.runs) == 1
    assert done.text.count("warning: W&B") == 1
    assert "warning: W&B failed (TimeoutError" in done.text
    (left,) = re.findall("What it has lies in (.*)", done.text)
    assert list(Path(left).glob("*.wandb"))
    for seed, kind in enumerate(("run", "offline-run")):
        cell = done.folder / "runs" / f"random-50-seed{seed}"
        assert json.loads((cell / "results.json").read_text())["classifier"]["epochs"] == 2
        assert [path.name.startswith(kind) for path in cell.glob("wandb/*run-2*")] == [True]
    assert f"wandb sync {done.folder}/wandb/offline-run-*" in done.text
    assert done.seconds < 60
