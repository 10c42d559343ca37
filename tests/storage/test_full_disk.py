"""A disk that is full at any write of a run or a comparison: 5, one line, nothing lost.

``pytest -m soak -n 0 -s tests/storage/test_full_disk.py`` goes through all places.
"""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.support.full_disk import BALLAST, FullDisk, small_disk
from tests.support.runs import CLOCKS, ROOT, config, differences

OWN_WAY = ("train.log", "wandb")
"""What ends no run: the log and Weights & Biases, which say that they fail. The next file ends it."""
EMPTY = [[".lock", 0], ["metrics.jsonl", 0]]
"""What is made without a byte in it."""
MAY_DIFFER = {"wandb", "csv", "results.csv", "state.json", "report.html"}
"""What names a time or a duration; tables are compared without them."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """The program that runs commands on a full disk, with W&B offline."""
    home = tmp_path_factory.mktemp("home")
    return FullDisk(home, WANDB_MODE="offline", HOME=str(home))


class Golden:
    """An undisturbed ``fit`` or ``compare``: its config, its directory and the places at which it writes."""

    def __init__(self, disk, folder, verb, loggers, report):
        self.disk, self.verb, self.folder = disk, verb, folder
        self.file = config("DenoisingAutoencoder", folder, report=report, loggers=loggers)
        if verb == "compare":
            values = yaml.safe_load(self.file.read_text())
            values["pretrain"]["epochs"], values["finetune"]["epochs"] = 1, 2
            values["compare"] = {"seeds": 1, "labels": [50], "arms": ["pretrained", "random"], "baselines": ["knn"]}
            self.file.write_text(yaml.safe_dump(values))
        self.out = folder / "golden"
        answer = disk.run(*self.command(self.out), out=self.out)
        assert answer["code"] == 0, answer
        self.places = answer["seen"]

    def command(self, out):
        return self.verb, "--config", self.file, "--out", out

    def go_on(self, out):
        """The command that goes on; the first one again where there is nothing to resume yet."""
        return ("fit", "--resume", out) if self.verb == "fit" and (out / "config.yaml").exists() else self.command(out)

    def strike(self, out, place, means):
        """Run until the disk is full at a place; what is wrong then, and after going on with room again."""
        answer = self.disk.run(*self.command(out), out=out, place=place, means=means)
        if not answer["struck"]:
            return [f"never came there: {answer}"]
        if place == self.places[-1] and {*OWN_WAY} & {*Path(place[0]).parts}:  # nothing is left to be written
            told = f"warning: {out / place[0]} cannot be written" in answer["out"]
            return [] if (answer["code"], answer["err"], told) == (0, "", True) else [f"at its end: {answer}"]
        said, lines = " ".join(answer["err"].split()), answer["err"].splitlines()
        wrong = [] if answer["code"] == 5 else [f"code {answer['code']}"]
        wrong += [] if len(lines) == 1 and said.startswith("aepretrain: error: ") else [f"said {answer['err'][:600]!r}"]
        wrong += [] if " bytes needed, " in said and " free. Make room." in said else [f"no advice in {said[:300]!r}"]
        # Where blocks are taken, a file may grow within its last block.
        free = means == "fill" or [Path(place[0]).name, place[1]] in EMPTY or bool({*OWN_WAY} & {*Path(place[0]).parts})
        named = free or f"{out / place[0]} cannot be written" in said
        wrong += [] if named else [f"another file in {said[:300]!r}"]
        wrong += ["a traceback"] if "Traceback" in answer["out"] + answer["err"] else []
        wrong += damaged(out)
        (out.parent / BALLAST).unlink(missing_ok=True)
        answer = self.disk.run(*self.go_on(out), out=out)
        wrong += [] if answer["code"] == 0 and not answer["err"] else [f"going on: {answer}"]
        different = [name for name in differences(self.out, out) if not MAY_DIFFER & set(name.split("/"))]
        if answer["code"] == 0:
            wrong += [] if tables(self.out) == tables(out) else ["other tables"]
        return wrong + ([f"differs in {different}"] if different else [])


def tables(folder):
    """The rows of all tables, but for what a clock changes."""
    found = {path.relative_to(folder): path.read_text().splitlines() for path in sorted(folder.rglob("*.csv"))}
    return {
        path: [{name: value for name, value in row.items() if name not in CLOCKS} for row in csv.DictReader(lines)]
        for path, lines in found.items()
    }


def damaged(out):
    """What is half written in a run directory."""
    found = [f"{path} is left" for path in out.rglob("*.part")]
    for path in (path for path in out.rglob("*") if path.is_file() and "wandb" not in path.parts):
        data = path.read_bytes()
        try:
            if path.suffix == ".json":
                json.loads(data)
            elif path.suffix in (".jsonl", ".log", ".txt", ".csv", ".yaml", ".md", ".html", ".svg"):
                assert data.endswith(b"\n") or not data
                _ = [json.loads(line) for line in data.splitlines() if path.suffix == ".jsonl"]
            elif path.suffix == ".npz":
                assert zipfile.ZipFile(path).testzip() is None
            elif path.suffix == ".png":
                assert data.endswith(b"IEND\xaeB`\x82")
        except (AssertionError, ValueError, zipfile.BadZipFile) as error:
            found.append(f"{path} is damaged: {error}")
    return found


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("means", ["limit", "fill"])
@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_a_disk_that_is_full_anywhere_ends_with_5_and_loses_nothing(verb, means, disk, tmp_path):
    golden = Golden(disk, tmp_path, verb, ["wandb", "csv"], report=True)
    first, last = dict(reversed(golden.places)), dict(golden.places)
    places = sorted({*first.items(), *last.items()})
    failed = 0
    (tmp_path / "disk").mkdir()
    for number, place in enumerate(places):
        folder = tmp_path / "disk" / str(number)
        folder.mkdir()
        if means == "fill":
            try:
                with small_disk(folder, 100_000_000):
                    wrong = golden.strike(folder / "run", list(place), means)
            except PermissionError as error:
                pytest.skip(str(error))
        else:
            wrong = golden.strike(folder / "run", list(place), means)
        failed += bool(wrong)
        print(f"{verb}, {means}, {place}: {wrong or 'as it should be'}", flush=True)
    print(f"{len(places) - failed} of {len(places)} places of {verb}, of {len(first)} files, full by {means}")
    assert len(first) >= 30
    assert failed == 0


def test_an_error_of_the_disk_that_no_file_told_ends_with_5():
    """Standard output is no file of ours."""
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "aepretrain", "validate", "--config", "configs/digits.yaml"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (5, 1), done.stderr
    assert "No space left on device. Make room" in done.stderr


def test_a_directory_that_vanishes_ends_with_5_and_is_not_made_anew(golden, tmp_path):
    out = tmp_path / "run"
    answer = golden.disk.run(*golden.command(out), out=out, place=["state.json", 11], means="remove")
    assert (answer["code"], answer["struck"], len(answer["err"].splitlines())) == (5, True, 1), answer
    assert f"{out / 'state.json'} cannot be written: No such file or directory. Its folder is gone" in answer["err"]
    assert not out.exists()


@pytest.fixture(scope="module")
def golden(disk, tmp_path_factory):
    """A run without W&B and without a report, which take the longest."""
    return Golden(disk, tmp_path_factory.mktemp("golden"), "fit", ["csv"], report=False)


@pytest.mark.parametrize("place", [
    pytest.param(("metrics.jsonl", 7), marks=pytest.mark.soak), pytest.param(("train.log", 4), marks=pytest.mark.soak),
    ("stages/00-denoising/filters.png", 0), ("encoder/config.json", 0),
])  # fmt: skip
def test_a_disk_that_is_full_at_a_file_ends_with_5_and_loses_nothing(place, golden, tmp_path):
    assert golden.strike(tmp_path / "run", list(place), "limit") == []
