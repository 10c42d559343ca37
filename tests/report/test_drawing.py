"""A picture that cannot be drawn costs a sentence in the report and on the terminal, never a run or its results."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from aepretrain.report.comparison_report import write_comparison_report
from aepretrain.report.embeddings import reason_not_embedded
from aepretrain.report.run_report import write_run_report
from aepretrain.report.tsne import NeighbourEmbeddings
from aepretrain.report.two_dimensions import begin_embeddings
from tests.support import programs
from tests.support.records import make
from tests.support.runs import ROOT, all_left, members

CONSTANT = np.ones((300, 16), dtype=np.float32)
CLOUD = np.random.default_rng(0).random((20, 4))
SIGMOID = {"coder": {"class_path": "Dense", "init_args": {"features": 16, "activation": "sigmoid"}}}
"""Of a layer whose codes are the same for all examples if the inputs are not scaled."""


def shown(capsys):
    return " ".join(capsys.readouterr().out.split())


def neighbour_embeddings(spaces, **settings):
    with NeighbourEmbeddings(**settings) as embeddings:
        embeddings.begin(spaces)
        return embeddings.points()


def test_tsne_that_is_not_waited_for_is_ended():
    with NeighbourEmbeddings() as embeddings:
        embeddings.begin([CLOUD] * 500)
        process = embeddings.program.process
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL


def test_tsne_that_was_loaded_and_never_begun_is_ended():
    with NeighbourEmbeddings() as embeddings:
        embeddings.load()
        process = embeddings.program.process
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    assert all(pipe.closed for pipe in (process.stdin, process.stdout, process.stderr))


@pytest.mark.usefixtures("quick_embeddings")
@pytest.mark.parametrize(("verb", "module"), [("fit", "runs.experiment"), ("compare", "compare")])
def test_tsne_begins_before_anything_is_trained_with_labels(verb, module, tmp_path, monkeypatch):
    seen = []

    def watched(folder, neighbours):
        begin_embeddings(folder, neighbours)
        trained = list(tmp_path.rglob("classifier/model.safetensors"))
        seen.append(([space.shape for space in neighbours.spaces], trained))

    monkeypatch.setattr(f"aepretrain.{module}.begin_embeddings", watched)
    make(verb, tmp_path, compare={"seeds": 1, "labels": [50], "arms": ["random", "pretrained"], "baselines": []})
    assert seen[0] == ([(300, 64), (300, 16), (300, 16)], [])


def test_tsne_that_died_while_it_was_not_needed_costs_nothing():
    with NeighbourEmbeddings() as embeddings:
        embeddings.load()
        embeddings.program.process.kill()
        embeddings.program.process.wait()
        embeddings.begin([CLOUD])
        (points,) = embeddings.points()
    assert points.shape == (20, 2)


def test_tsne_of_something_else_begins_anew_and_of_the_same_does_not():
    with NeighbourEmbeddings() as embeddings:
        embeddings.begin([CONSTANT])
        embeddings.begin([CLOUD, 2 * CLOUD])
        process = embeddings.program.process
        embeddings.begin([CLOUD.copy(), 2 * CLOUD])
        assert embeddings.program.process is process
        assert [points.shape for points in embeddings.points()] == [(20, 2)] * 2


def test_the_time_limit_of_tsne_begins_when_it_is_waited_for():
    with NeighbourEmbeddings(seconds=60) as embeddings:
        embeddings.begin([CLOUD, CONSTANT, CLOUD])
        embeddings.program.sender.join()
        with pytest.MonkeyPatch.context() as patch:
            now = time.monotonic()
            patch.setattr("aepretrain.report.tsne.time.monotonic", lambda: now + 1000)
            before, dead, after = embeddings.points()
    assert dead == "its process was ended by SIGSEGV"
    assert np.array_equal(before, after)


def test_tsne_leaves_with_a_program_that_is_killed():
    owner = programs.call(
        "tests.support.programs:execute", LOADED, [], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert owner.stdout.readline() == "loaded\n"
    assert len(members(owner)) == 2
    owner.send_signal(signal.SIGKILL)
    owner.communicate(30)
    assert all_left(owner)


def test_nothing_to_embed_starts_no_process():
    with NeighbourEmbeddings() as embeddings:
        embeddings.begin([])
        assert embeddings.points() == []
        assert embeddings.program is None


def test_tsne_that_ends_its_process_costs_its_own_picture_only():
    before, dead, after = neighbour_embeddings([CLOUD, CONSTANT, CLOUD])
    assert dead == "its process was ended by SIGSEGV"
    assert before.shape == (20, 2)
    assert np.array_equal(before, after)


def test_tsne_that_fails_says_why():
    failed, fine = neighbour_embeddings([np.full((20, 4), np.nan), CLOUD])
    assert failed.startswith("its process failed (ValueError: Input X contains NaN")
    assert fine.shape == (20, 2)


def test_tsne_has_a_time_limit_for_all_pictures_together():
    assert neighbour_embeddings([CLOUD, CLOUD], seconds=0.05) == ["it took too long"] * 2


def test_tsne_that_cannot_be_started_says_why(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (reason,) = neighbour_embeddings([CLOUD])
    assert reason.startswith("its process could not be started ([Errno 2]")


PROGRAM = """
import numpy as np
from aepretrain.report.tsne import NeighbourEmbeddings
with NeighbourEmbeddings() as embeddings:
    embeddings.begin([np.random.default_rng(0).random((12, 4))])
    print([points.shape for points in embeddings.points()])
"""
LOADED = """
import time
from aepretrain.report.tsne import NeighbourEmbeddings
with NeighbourEmbeddings() as embeddings:
    embeddings.load()
    print("loaded", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("as_file", [False, True])
def test_tsne_needs_no_guard_in_the_program_that_asks_for_it(as_file, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    words = [str(tmp_path / "program.py")] if as_file else ["-c", PROGRAM]
    program = [sys.executable, *words]
    done = subprocess.run(
        program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[(12, 2)]\n"


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (CONSTANT, "the codes are all alike"),
        (np.zeros((20, 4)), "the codes are all alike"),
        (CONSTANT * np.float32(0.7) + np.float32(6e-8) * (np.arange(300, dtype=np.float32)[:, None] % 2),
         "the codes are all alike"),
        (np.full((20, 4), np.inf), "the codes are not all finite"),
        (np.ones((20, 1)), "the codes have fewer than two dimensions or examples"),
        (1e6 + CLOUD, None),
        (1e-30 * CLOUD, None),
        (np.hstack([np.full((20, 1), 1e20), CLOUD]), None),
        (np.hstack([np.ones((20, 3)), 1e-30 * CLOUD[:, :2]]), "the codes are all alike"),
    ],
)  # fmt: skip
def test_codes_that_are_alike_up_to_rounding_are_not_embedded(x, reason):
    assert reason_not_embedded(x, "codes") == reason


def test_a_run_on_rows_that_are_all_alike_ends_with_its_results_and_its_report(tmp_path):
    np.save(tmp_path / "x.npy", np.tile(1e4 * np.random.default_rng(0).random(20, dtype=np.float32), (600, 1)))
    np.save(tmp_path / "y.npy", np.arange(600) % 3)
    data = {"x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy")}
    layer = {"class_path": "PlainAutoencoder", "init_args": SIGMOID}
    config = {
        "layers": [layer, layer], "data": {"class_path": "MappedArray", "init_args": data}, "loggers": [],
        "pretrain": {"epochs": 1}, "finetune": {"epochs": 1},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    done = programs.run("fit", "--config", tmp_path / "config.yaml", "--out", out)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert (out / "results.json").is_file()
    report = (out / "report.html").read_text()
    assert report.count("the codes are all alike") == 4
    assert report.count("the raw inputs are all alike") == 2


@pytest.mark.usefixtures("quick_embeddings")
@pytest.mark.parametrize(
    ("name", "write"),
    [("run", write_run_report), pytest.param("comparison", write_comparison_report, marks=pytest.mark.soak)],
)
def test_the_same_files_give_the_same_report_byte_for_byte(name, write, request):
    # That two processes of t-SNE find the same points is tested above.
    folder = request.getfixturevalue(name)
    first = write(folder).read_bytes()
    pictures = {path: path.read_bytes() for path in folder.glob("pictures/*")}
    assert write(folder).read_bytes() == first
    assert pictures == {path: path.read_bytes() for path in folder.glob("pictures/*")}
    assert not list(folder.rglob("*.part"))


@pytest.fixture
def broken(monkeypatch):
    """Matplotlib as it is where it cannot draw."""

    def fail(*arguments, **options):
        raise RuntimeError("no fonts\nfound")

    monkeypatch.setattr(Figure, "savefig", fail)


def test_a_run_whose_pictures_cannot_be_drawn_has_all_results_and_says_so(tmp_path, capsys, broken):
    out = make("fit", tmp_path)
    text = shown(capsys)
    assert json.loads((out / "results.json").read_text())["classifier"]["test"]["examples"] == 300
    assert json.loads((out / "state.json").read_text())["status"] == "finished"
    assert f"warning: {out}/stages/00-denoising/curves.png could not be drawn: no fonts found." in text
    assert "warning: the learning curves of 00-denoising could not be drawn: no fonts found." in text
    report = (out / "report.html").read_text()
    for what in ("learning curves of 00-denoising", "use of the units", "learning curves of the classifier"):
        assert f"The {what} could not be drawn: no fonts found." in report
    assert "PCA of codes of 00-denoising" in report
    assert "t-SNE of codes of 00-denoising" in report
    assert "Confusion on test data." in report
    assert text.index(f"results {out / 'results.json'}") < text.index("drawing the report")


@pytest.mark.usefixtures("quick_embeddings")
def test_a_comparison_is_printed_before_anything_is_drawn_and_needs_no_picture(tmp_path, capsys, broken):
    compare = {"seeds": 1, "labels": [50], "arms": ["pretrained", "random"], "baselines": []}
    out = make("compare", tmp_path, compare=compare)
    text = shown(capsys)
    assert (out / "summary.json").is_file()
    assert text.index("cannot tell at 50 labels") < text.index("drawing the report")
    assert text.index(f"results {out / 'results.csv'}") < text.index("drawing the report")
    assert "warning: the chart accuracy by labels could not be drawn: no fonts found." in text
    report = (out / "report.html").read_text()
    assert "The chart differences could not be drawn: no fonts found." in report
    assert "Test accuracy in %" in report


@pytest.mark.usefixtures("quick_embeddings")
def test_a_damaged_array_costs_a_finished_run_its_report_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(np, "load", lambda *arguments, **options: (_ for _ in ()).throw(ValueError("not an array")))
    out = make("fit", tmp_path, finetune={"epochs": 0})
    text = shown(capsys)
    assert (out / "results.json").is_file()
    assert f"warning: the report could not be drawn: {out}/stages/00-denoising/samples.npz cannot be read" in text
    assert f"aepretrain report {out} draws it again" in text
    assert not (out / "report.html").exists()


def test_nothing_of_an_ordinary_report_is_missing(run, comparison, copy, capsys):
    for folder in (run, comparison):
        assert "could not be drawn" not in (folder / "report.html").read_text()
    write_run_report(copy(run))
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("quick_embeddings")
def test_warnings_stand_at_the_top_of_the_report(run, copy):
    folder = copy(run)
    results = json.loads((folder / "results.json").read_text())
    results["warnings"] = ["half of the <rows> are alike. Remove them."]
    (folder / "results.json").write_text(json.dumps(results))
    text = write_run_report(folder).read_text()
    assert text.index("half of the &lt;rows&gt; are alike. Remove them.") < text.index('class="headline"')


@pytest.mark.usefixtures("quick_embeddings")
def test_different_warnings_of_the_runs_stand_at_the_top_of_a_comparison(comparison, copy):
    folder = copy(comparison)
    for path in (folder / "runs").glob("*/results.json"):
        own = [f"layer {k} of {path.parent.name} is dead." for k in range(4)]
        found = ["Rows are alike.", *own] if path.parent.name.startswith("pretraining") else []
        path.write_text(json.dumps({**json.loads(path.read_text()), "warnings": found}))
    text = write_comparison_report(folder).read_text()
    top = text[: text.index('class="headline"')]
    assert top.count("pretraining-seed0, pretraining-seed1, pretraining-seed2: Rows are alike.") == 1
    assert "pretraining-seed2: layer 0 of pretraining-seed2 is dead." in top
    assert "layer 3 of pretraining-seed2 is dead." not in top
    assert "3 more are in results.json of the runs" in top


@pytest.mark.usefixtures("quick_embeddings")
def test_the_kept_epoch_has_one_number_in_files_report_and_terminal(tmp_path, capsys):
    out = make("fit", tmp_path, finetune={"epochs": 4, "batch_size": 16, "monitor": "loss"})
    text = shown(capsys)
    results = json.loads((out / "results.json").read_text())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = {row["epoch"]: row["value"] for row in rows if (row["stage"], row["name"]) == ("classifier", "val/loss")}
    kept = min(losses, key=losses.get)
    record = json.loads((out / "stages" / "classifier" / "record.json").read_text())
    assert results["classifier"]["kept_epoch"] == kept
    assert record.get("record", record)["kept_epoch"] == kept
    assert f"epoch {kept} of 0 to 3 kept" in text
    assert f"the weights of epoch {kept} of 0 to 3 were kept" in text
    assert f"the weights of epoch {kept}, counted from 0, were kept" in (out / "report.html").read_text()


@pytest.mark.usefixtures("quick_embeddings")
def test_classes_are_called_by_their_names_in_the_report(run, copy):
    folder = copy(run)
    results = json.loads((folder / "results.json").read_text())
    names = [f"<b>{letter}" for letter in "abcdefghij"]
    results["data"]["class_names"] = names
    (folder / "results.json").write_text(json.dumps(results))
    text = write_run_report(folder).read_text()
    assert "<b>a" not in text.replace("<b>Warning:", "")
    assert '<th scope="row">0 &lt;b&gt;a</th>' in text
    assert '">&lt;b&gt;a</text>' in text
    results["data"]["class_names"] = [str(10 * k) for k in range(10)]
    (folder / "results.json").write_text(json.dumps(results))
    text = write_run_report(folder).read_text()
    assert '<th scope="col">90</th>' in text
    assert '<th scope="row">90</th>' in text
