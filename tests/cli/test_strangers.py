"""Directories that somebody else prepared: nothing outside them is changed, and every refusal is one line."""

import json
import re
import shutil

import pytest
import yaml

from aepretrain.cli.main import main
from tests.support.records import SETTINGS, write_config

pytestmark = pytest.mark.usefixtures("quick_embeddings")
SMALL = {"layers": SETTINGS["layers"][:1], "pretrain": {"epochs": 1}, "finetune": {"epochs": 1, "batch_size": 64}}
COMPARE = {"seeds": 1, "labels": [50], "baselines": ["knn"], "arms": ["pretrained", "random", "random-longer"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    assert main(["fit", "--config", write_config(folder, report=False, **SMALL), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    config = write_config(folder, report=False, **{**SMALL, "compare": COMPARE})
    assert main(["compare", "--config", config, "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def stopped(finished, tmp_path):
    """A run whose classifier is still to be trained."""
    run = shutil.copytree(finished, tmp_path / "run")
    state = json.loads((run / "state.json").read_text())
    del state["stages"]["classifier"]
    (run / "state.json").write_text(json.dumps({**state, "status": "stopped"}))
    return run


@pytest.fixture
def said(capsys):
    """Run a command; its exit code and what it said on standard error, which is one line at most."""

    def run(*words):
        capsys.readouterr()
        code = main(list(map(str, words)))
        text = capsys.readouterr().err
        assert len(text.splitlines()) <= 1, text
        assert all(len(line) <= 500 for line in text.splitlines())
        return code, text

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def move_out(path, folder):
    """Put a link in the place of a file or folder, and what was there outside."""
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    if path.exists():
        shutil.move(path, target)
    else:
        target.write_bytes(b"mine")
    path.symlink_to(target)
    return contents(folder)


PLACES = {
    "train.log": 0, "commands.txt": 5, "metrics.jsonl": 5, "results.json": 0, "config.yaml": 0, "state.json": 0,
    "encoder": 5, "encoder/config.json": 0, "encoder/encoder.safetensors": 0, "stages": 5, "stages/classifier": 5,
    "stages/inputs.npz": 0, "stages/classifier/curves.png": 0, "stages/classifier/model.safetensors": 0, ".lock": 5,
    "stages/classifier/last.ckpt": 5, ".lock-owner.json": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_resuming_changes_nothing_outside_the_directory(name, stopped, said, tmp_path):
    before = move_out(stopped / name, tmp_path / "outside")
    code, text = said("fit", "--resume", stopped)
    assert contents(tmp_path / "outside") == before
    assert code == PLACES[name], text
    assert code == 0 or "is a link" in text or "last.ckpt are damaged" in text


@pytest.mark.parametrize(("name", "code"), [("report.html", 0), ("stages", 0)])
def test_a_report_changes_nothing_outside_the_directory(name, code, finished, said, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    before = move_out(run / name, tmp_path / "outside")
    assert said("report", run)[0] == code
    assert contents(tmp_path / "outside") == before


@pytest.mark.parametrize("name", ["runs", "runs/random-50-seed0", "runs/pretraining-seed0", "pictures"])
def test_a_comparison_changes_nothing_outside_its_directory(name, compared, said, tmp_path):
    out = shutil.copytree(compared, tmp_path / "out")
    for arm in ("random", "pretrained"):
        (out / "runs" / f"{arm}-50-seed0" / "row.json").unlink()
    before = move_out(out / name, tmp_path / "outside")
    words = ("report", out) if name == "pictures" else ("compare", "--config", out / "config.yaml", "--out", out)
    code, text = said(*words)
    assert contents(tmp_path / "outside") == before
    assert code == 5, text
    assert "is a link, and nothing is written or deleted through links inside" in text


def change(path, *keys, value):
    values = json.loads(path.read_text())
    part = values
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(values))


STRANGE = {
    "steps": ("pretraining-seed0/results.json", ("stages", 0, "steps"), 10**12, "records 1,000,000,000,000 steps"),
    "seconds": ("pretraining-seed0/results.json", ("stages", 0, "seconds"), 1e12, "the config asks for at most"),
    "no number": ("pretraining-seed0/results.json", ("stages", 0, "steps"), 1e12, r"steps must be a whole number"),
    "another cell": ("random-50-seed0/row.json", ("seed",), 7, "is the row of another cell"),
    "too exact": ("random-50-seed0/row.json", ("test_accuracy",), 2, r"test_accuracy must lie in \[0, 1\]"),
    "a path": ("random-50-seed0/row.json", ("arm",), "../x", "arm must have letters"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_rows_and_records_of_a_comparison_are_checked(name, compared, said, tmp_path):
    out = shutil.copytree(compared, tmp_path / "out")
    (out / "runs" / "random-longer-50-seed0" / "row.json").unlink()
    file, keys, value, why = STRANGE[name]
    change(out / "runs" / file, *keys, value=value)
    code, text = said("compare", "--config", out / "config.yaml", "--out", out)
    assert code == 5, text
    assert re.search(why, text)
    assert file in text


def test_a_comparison_whose_group_of_seeds_is_strange_ends_in_one_line(compared, said, tmp_path):
    out = shutil.copytree(compared, tmp_path / "out")
    shutil.rmtree(out / "runs" / "pretraining-seed0")
    shutil.rmtree(out / "runs" / "pretrained-50-seed0")
    (out / "runs" / "together.json").write_text('{"seeds": 7}')
    code, text = said("compare", "--config", out / "config.yaml", "--out", out)
    assert (code, "together.json cannot be read: seeds must be a list" in text) in ((5, True), (0, False)), text


DAMAGE = {
    "config.yaml": b"\xff", "results.json": b"[" * 100_000, "metrics.jsonl": b'{"stage": 1}\n',
    "commands.txt": b"\xff\n", "stages/00-denoising/samples.npz": b"PK\x03\x04", "stages/inputs.npz": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_report_of_a_damaged_file_names_it(name, finished, said, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / name).write_bytes(DAMAGE[name])
    code, text = said("report", run)
    assert code == 5, text
    assert f"{run / name} cannot be read" in text


@pytest.mark.parametrize("name", ["state.json", "config.yaml", "stages/00-denoising/record.json"])
@pytest.mark.parametrize("data", [b"\xff", b"[" * 100_000, b"[]", b'{"stages": {"00-denoising": 7}}'])
def test_resuming_from_a_damaged_file_names_it(name, data, stopped, said):
    (stopped / name).write_bytes(data)
    code, text = said("fit", "--resume", stopped)
    assert code in (2, 5), text
    assert name.rsplit("/", 1)[-1] in text


@pytest.mark.parametrize("epochs", ["&a [*a]", "&a [1, &b [*a, *b]]"])
def test_a_config_that_holds_itself_is_refused(epochs, said, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"layers: []\npretrain:\n  epochs: {epochs}\n")
    code, text = said("validate", "--config", path)
    assert code == 2
    assert "hold themselves" in text


def test_a_bomb_of_aliases_on_the_command_line_is_refused(said, tmp_path):
    bomb = "[&a [1,1,1,1,1,1,1,1]," + ",".join(
        f"&{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    )
    code, text = said("validate", "--config", write_config(tmp_path, **SMALL), f"--pretrain.epochs={bomb}]")
    assert code == 2, text


def test_no_error_line_is_long_or_steers_the_terminal(said, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"layers": SMALL["layers"], "seed": "x" * 2_000_000}))
    code, text = said("validate", "--config", path)
    assert code == 2
    path.write_text(yaml.safe_dump({"lay\x1b[31mers": 1}))
    code, text = said("validate", "--config", path)
    assert code == 2
    assert "\x1b" not in text
    assert "lay\\x1b[31mers" in text
    code, text = said("validate", "--config", tmp_path / "\x1b]0;a\x07.yaml")
    assert "\x1b" not in text


@pytest.mark.parametrize("target", ["missing", "empty"])
def test_a_directory_of_dead_links_is_not_empty(target, said, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.jsonl").symlink_to(tmp_path / target)
    code, text = said("fit", "--config", write_config(tmp_path, **SMALL), "--out", tmp_path / "out")
    assert code in (2, 5), text
    assert "is not empty" in text or "is a link" in text
    assert not (tmp_path / "missing").exists()


SECRET = "s3cr3t"


def test_secrets_of_settings_reach_no_file(tmp_path, said, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "run"
    address = f"https://me:{SECRET}@host/x"
    config = write_config(tmp_path, **SMALL, wandb={"tags": [address], "group": address})
    words = ["fit", "--config", config, "--out", out, f"--wandb.name=x?token={SECRET}"]
    assert said(*words)[0] == 0
    found = [path for path in out.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert found == []
    assert "(redacted)" in (out / "config.yaml").read_text()
    code, text = said("fit", "--config", out / "config.yaml", "--out", tmp_path / "again")
    assert code == 2
    assert "wandb.name holds x?token=(redacted)" in text or "in the place of a secret" in text


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_a_directory_named_by_a_secret_is_refused(verb, said, tmp_path):
    code, text = said(verb, "--config", write_config(tmp_path, **SMALL), "--out", tmp_path / f"x?token={SECRET}")
    assert code == 2
    assert SECRET not in text
    assert "token=(redacted)" in text
    assert not (tmp_path / f"x?token={SECRET}").exists()
