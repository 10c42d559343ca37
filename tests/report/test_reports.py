"""Reports are pure functions of the files of a run or comparison, need nothing outside, and say what they lack."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from aepretrain import ComparisonResult, RunResult
from aepretrain.cli.main import main
from aepretrain.cli.terminal import print_comparison, print_results
from aepretrain.console import console
from aepretrain.report.comparison_report import write_comparison_report
from aepretrain.report.pretraining import stage_table
from aepretrain.report.run_report import write_run_report
from aepretrain.results.figures import nats as in_nats
from aepretrain.runs.directory import record_command
from tests.support.records import SETTINGS, make

pytestmark = pytest.mark.usefixtures("quick_embeddings")
EARLIER = Path(__file__).parents[1] / "results" / "earlier"
VOID = {"meta", "link", "img", "path", "rect", "use", "br", "image", "circle", "line"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed before it was opened, and collects words and links."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def read(path):
    parser = Balanced()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return " ".join(" ".join(parser.words).split()), parser.links


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_a_report_needs_nothing_outside_itself(name, request):
    path = request.getfixturevalue(name) / "report.html"
    words, links = read(path)
    assert len(words) > 1000
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    text = path.read_text(encoding="utf-8")
    assert "http" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_the_report_of_a_run_shows_its_figures_and_what_they_are_of(run):
    words, _ = read(run / "report.html")
    results = json.loads((run / "results.json").read_text())
    for split in ("validation", "test"):
        assert f"{results['classifier'][split]['error']:.2%}" in words
        assert f"{results['classifier'][split]['loss']:.4f}" in words
    for stage in results["stages"]:
        assert stage["stage"] in words
        assert all(f"{loss:.2f}" in words for loss in stage["losses"].values())
    for version in results["versions"].values():
        assert version in words
    for sentence in ("The test set was read once", "does not say whether pretraining helped", "aepretrain compare"):
        assert sentence in words
    assert "all other figures and pictures are of training and validation data" in words.lower()


def test_a_run_leaves_the_validation_arrays_that_its_pictures_are_made_from(run):
    with np.load(run / "stages" / "inputs.npz", allow_pickle=False) as inputs:
        assert inputs["inputs"].shape == (300, 64)
        assert inputs["labels"].shape == (300,)
    with np.load(run / "stages" / "00-denoising" / "samples.npz", allow_pickle=False) as first:
        assert first["codes"].shape == (300, 16)
        assert first["filters"].shape == (16, 1, 8, 8)
        shapes = {first[name].shape for name in ("original", "corrupted", "reconstructed")}
        assert shapes == {(12, 1, 8, 8)}
        assert not np.array_equal(first["original"], first["corrupted"])
    with np.load(run / "stages" / "01-plain" / "samples.npz", allow_pickle=False) as second:
        assert set(second) == {"codes"}


def test_the_verdict_comes_first_and_every_cell_is_in_the_table(comparison):
    words, _ = read(comparison / "report.html")
    summary = json.loads((comparison / "summary.json").read_text())
    for budget in summary["budgets"]:
        for part in budget["verdict"].split(" at ")[0].split(": "):
            assert words.index(part) < words.index("Accuracy by labels")
        for arm in budget["arms"].values():
            assert f"{100 * arm['mean']:.2f} ± {100 * arm['std']:.2f}" in words
        for difference in budget["differences"].values():
            low, high = difference["interval"]
            assert f"[{100 * low:.2f}, {100 * high:.2f}]" in words
    with (comparison / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 4
    table = words[words.index("All 24 cells") :]
    for row in rows:
        cells = f"{row['arm']} {row['labels']} {row['seed']} {row['hyperparameters'] or '-'}"
        accuracies = " ".join(f"{100 * float(row[f'{split}_accuracy']):.2f}" for split in ("validation", "test"))
        assert f"{cells} {accuracies}" in table


def one_line(text):
    return " ".join(text.replace("\u2212", "-").split())


def test_terminal_and_report_show_every_figure_of_a_comparison_alike(comparison, monkeypatch):
    found = json.loads((comparison / "summary.json").read_text())
    budgets, percent = found["budgets"], lambda value: f"{100 * value:.2f}"
    monkeypatch.setattr(console, "_width", 200)
    with console.capture() as capture:
        print_comparison(ComparisonResult.read(comparison / "summary.json"), comparison)
    terminal = [one_line(line) for line in capture.get().splitlines()]
    report = one_line(read(comparison / "report.html")[0])
    for arm in budgets[0]["arms"]:
        arms = [budget["arms"][arm] for budget in budgets]
        figures = " ".join(f"{percent(each['mean'])} ± {percent(each['std'])}" for each in arms)
        assert f"{arm} {figures}" in terminal
        assert f"{arm} {figures}" in report.replace(" (baseline)", "")
    # k-NN and logistic regression are not under comparison.
    networks = [[budget["arms"][arm] for arm in ("pretrained", "random", "probe")] for budget in budgets]
    errors = " ".join(f"± {100 * max(arm['sampling_error'] for arm in arms):.1f}" for arms in networks)
    assert f"sampling error {errors}" in terminal
    assert f"sampling error of one accuracy {errors}" in report
    for budget in budgets:
        assert budget["differences"]
        for name, difference in budget["differences"].items():
            intervals = [f"[{percent(low)}, {percent(high)}]" for low, high in
                         (difference["interval"], difference["joint"], difference["bootstrap"])]  # fmt: skip
            figures = f"{100 * difference['mean']:+.2f} {' '.join(intervals)} {difference['wins']} of 3"
            assert f"{budget['labels']} labels: {name} {figures}" in terminal
            assert f"{budget['labels']} {name} {figures}" in report
        answer, _, rest = budget["verdict"].partition(": ")
        assert any(budget["verdict"].removeprefix(answer) in line for line in terminal)
        assert rest.replace(f" at {budget['labels']} labels", "") in report


def test_terminal_and_report_show_every_figure_of_a_run_alike(run, monkeypatch):
    results = RunResult.read(run / "results.json")
    monkeypatch.setattr(console, "_width", 200)
    with console.capture() as capture:
        print_results(results, run)
    terminal = [one_line(line) for line in capture.get().splitlines()]
    report = one_line(read(run / "report.html")[0])
    for stage in results.stages:
        (line,) = [line for line in terminal if line.startswith(stage.stage)]
        row = report[report.index(f"{stage.stage} {'x'.join(map(str, stage.in_shape))} →") :].split(" 0")[0]
        epochs, kept, seconds, nats, active, dead, identity = line.split()[4:]
        cells = report[report.index(row) :].split()[4:18]
        assert (epochs, kept, seconds) == (cells[0], cells[1], cells[3])
        assert [nats, active, dead, identity] == [cells[6], cells[8], cells[10], cells[13]]
        mean = stage.diagnostics["mean_reconstruction"]
        assert [cells[7], cells[11]] == [in_nats(mean), f"{stage.diagnostics['saturated_units']:.0f}"]
    classifier = results.classifier
    for split, found in (("validation", classifier.validation), ("test", classifier.test)):
        figures = f"{split} 300 {found.accuracy:.2%} {found.error:.2%} {found.loss:.4f} {found.balanced_accuracy:.2%}"
        assert figures in terminal
        assert figures in report
    for k in range(10):
        (one, other) = (each.per_class.recall[k] for each in (classifier.validation, classifier.test))
        counts = [sum(each.confusion_matrix[k]) for each in (classifier.validation, classifier.test)]
        assert f"{k} {counts[0]} {one:.2%} {counts[1]} {other:.2%}" in terminal
        assert f"{k} {counts[0]} {one:.2%} {counts[1]} {other:.2%}" in report


def test_the_diagnostics_of_each_variant_are_in_the_table_of_stages():
    (stage,) = RunResult.read(EARLIER / "run.json").stages
    variational = replace(stage, stage="00-variational", diagnostics={**stage.diagnostics, "kl": 3.25})
    contractive = replace(stage, stage="01-contractive", diagnostics={**stage.diagnostics, "jacobian_norm": 1.75})
    text = stage_table([variational, contractive])
    assert re.findall(r">([^<]+)</th>", text)[-2:] == ["KL (nats)", "\u2016J\u2016"]
    rows = [re.findall(r">([^<]*)</td>", row)[-2:] for row in text.split("<tr>")[2:]]
    assert rows == [["3.25", "-"], ["-", "1.75"]]
    assert "KL" not in stage_table([stage])
    assert "free energ" not in stage_table([stage])
    machine = replace(stage, diagnostics={"free_energy": -3.0, "free_energy_gap": 0.25})
    assert "gap to training rows (nats)" in stage_table([machine])
    assert "exceeds that of training rows by the gap" in stage_table([machine])


def test_recall_has_the_names_of_the_classes_and_is_left_out_for_many(run, copy):
    folder = copy(run)
    results = json.loads((folder / "results.json").read_text())
    assert results["data"]["class_names"] == list("0123456789")
    results["data"]["class_names"] = ["<b>zero</b>", *"123456789"]
    (folder / "results.json").write_text(json.dumps(results))
    text = write_run_report(folder).read_text()
    assert "0 &lt;b&gt;zero&lt;/b&gt;" in text
    for split in ("validation", "test"):
        measured = results["classifier"][split]
        measured["per_class"] = {name: [0.5] * 21 for name in ("recall", "precision", "f1")}
        measured["confusion_matrix"] = [[1] * 21] * 21
    (folder / "results.json").write_text(json.dumps(results))
    assert "Recall of each class" not in write_run_report(folder).read_text()


def test_confusion_matrices_add_up_over_the_seeds(comparison):
    words, _ = read(comparison / "report.html")
    for arm in ("pretrained", "random"):
        paths = comparison.glob(f"runs/{arm}-50-seed*/results.json")
        matrices = [np.array(json.loads(p.read_text())["classifier"]["test"]["confusion_matrix"]) for p in paths]
        total = sum(matrices)
        assert total.sum() == 3 * 300
        body = words[words.index("Confusion on test data, summed") : words.index(f"{arm}, 50 labels.")]
        for true, counts in enumerate(total.tolist()):
            assert f"{true} {' '.join(map(str, counts))}" in body


def test_a_comparison_leaves_pictures_for_other_pages(comparison):
    names = {path.name for path in (comparison / "pictures").iterdir()}
    assert names == {"accuracy-by-labels.svg", "accuracy-by-labels.png", "differences.svg", "differences.png"}
    assert "var(--" not in (comparison / "pictures" / "differences.svg").read_text()


def test_the_commands_that_made_it_are_shown(tmp_path):
    out = make("fit", tmp_path, report=False)
    assert not (out / "report.html").exists()
    with (out / "commands.txt").open("a") as file:
        file.write("aepretrain fit --later <on>\n")
    assert main(["report", str(out)]) == 0
    words, _ = read(out / "report.html")
    assert f"aepretrain fit --config {tmp_path}" in words
    assert "aepretrain fit --later <on>" in words


@pytest.mark.parametrize(
    "words",
    [
        ["--hub.token", "s3cr3t"],
        ["--data.password=s3cr3t s3cr3t"],
        ["--layers", '[{"init_args": {"api_key": "s3cr3t"}}]'],
        ["--data.root", "ftp://me:s3cr3t@host/x"],
    ],
)
def test_secrets_do_not_reach_the_file_of_commands(words, tmp_path):
    record_command(tmp_path, "fit", ["--seed", "1", *words, "--out", "x"])
    written = (tmp_path / "commands.txt").read_text()
    assert "s3cr3t" not in written
    assert "redacted" in written
    assert written.startswith(f"cd {os.getcwd()} && aepretrain fit --seed 1 ")
    assert written.endswith(" --out x\n")


def test_an_unfinished_run_is_reported_as_far_as_it_goes(run, copy):
    folder = copy(run)
    for name in ("results.json", "config.yaml", "commands.txt"):
        (folder / name).unlink()
    shutil.rmtree(folder / "stages")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "classifier", "epo')
    words, _ = read(write_run_report(folder))
    for sentence in (
        "This run has not finished", "There is no classifier yet", "No arrays of the first stage were kept",
        "No validation inputs were kept", "There is no config.yaml", "No command was recorded", "No versions",
    ):  # fmt: skip
        assert sentence in words
    assert "Reconstruction goes from" in words


def test_data_without_labels_or_images_are_reported_with_reasons(tmp_path):
    data = {"class_path": "OneHotPatterns", "init_args": {"patterns": 8}}
    layer = {
        "class_path": "PlainAutoencoder",
        "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 3}}, "likelihood": "Categorical"},
    }
    folder = make("fit", tmp_path, data=data, layers=[layer])
    words, _ = read(folder / "report.html")
    for sentence in (
        "There is no classifier: the data have no labels.", "The inputs are neither pictures nor windows",
        "its weights are no pictures",
        "t-SNE is left out: it needs at least 10 examples", "the points have one colour", "no test example was read",
    ):  # fmt: skip
        assert sentence in words
    assert re.search(r"\d of 8", words)
    assert "The code of every pattern" in words
    for pattern in RunResult.read(folder / "results.json").patterns:
        assert " ".join(f"{value:.2f}" for value in pattern.code) in words
    assert "A row for each pattern, a column for each unit: black is" in words


def test_a_comparison_of_one_budget_and_seed_without_random_says_what_it_cannot(tmp_path):
    compare = {"seeds": 1, "labels": [50], "arms": ["probe"], "baselines": ["knn"]}
    words, _ = read(make("compare", tmp_path, compare=compare) / "report.html")
    for sentence in (
        "No verdict: it needs the arms pretrained and random", "With one seed there is no spread",
        "No paired difference", "No curves: they need the arms", "No confusion matrices",
    ):  # fmt: skip
        assert sentence in words
    assert "nan" not in words.lower().split()


def test_further_arms_a_control_network_and_chosen_settings_are_in_the_report(tmp_path):
    compare = {
        "seeds": [2, 1], "labels": [30, 50], "baselines": ["knn", "boosting"],
        "arms": ["pretrained", "random", "random-longer", "control-pretrained", "control-random"],
        "grid": {"finetune.batch_size": [16, 32]},
    }  # fmt: skip
    control = {"layers": SETTINGS["layers"][:1], "pretrain": {"epochs": 1}, "finetune": SETTINGS["finetune"]}
    out = make("compare", tmp_path, compare=compare, control=control)
    words, _ = read(out / "report.html")
    for sentence in (
        "30 labels, control network", "30 labels, equal compute", "2, 1 seeds", "Plan of the control network",
        "finetune.batch_size: 16, 32",
        "control-pretrained, 50 labels.", "random-longer − random", "boosting (baseline)",  # noqa: RUF001
    ):  # fmt: skip
        assert sentence in words
    assert "All 21 cells" in words
    assert (out / "pictures" / "differences-control-pretrained.svg").is_file()


def test_curves_keep_their_epochs_where_not_every_epoch_was_validated(tmp_path):
    finetune = {"epochs": 4, "batch_size": 64, "validate_every": 2}
    words, _ = read(make("fit", tmp_path, finetune=finetune) / "report.html")
    assert re.search(r"Validation error is [\d.]+% after epoch 1( and [\d.]+% after epoch 3, whose weights)?", words)


def test_a_stopped_comparison_has_no_verdict_yet_but_shows_its_cells(comparison, copy):
    folder = copy(comparison)
    lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    (folder / "results.csv").write_text("".join(lines[:6]))
    words, _ = read(write_comparison_report(folder))
    assert "No verdict yet: the comparison has not finished (5 cells have run)" in words
    assert "All 5 cells" in words
    assert "95% interval (Student)" not in words
    (folder / "results.csv").unlink()
    shutil.rmtree(folder / "runs")
    (folder / "runs").mkdir()
    words, _ = read(write_comparison_report(folder))
    assert "(0 cells have run)" in words
    assert "Nothing was pretrained" in words


def test_the_report_of_anything_else_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is neither a run nor a comparison" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "Usage: aepretrain report DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [("results.json", "{"), ("results.json", '{"stages": []}'), ("metrics.jsonl", "{]\n"), ("stages/inputs.npz", "PK")],
)
def test_a_damaged_file_is_a_storage_error_that_names_it(name, content, run, copy, capsys):
    folder = copy(run)
    (folder / name).write_text(content)
    assert main(["report", str(folder)]) == 5
    assert f"{folder / name} cannot be read" in capsys.readouterr().err


def test_a_cell_of_a_comparison_has_a_report_of_its_own(comparison, copy):
    folder = copy(comparison / "runs" / "pretrained-50-seed0")
    words, _ = read(write_run_report(folder))
    results = json.loads((folder / "results.json").read_text())
    assert f"{results['classifier']['test']['error']:.2%}" in words
    assert "1,197 unlabelled, 50 labelled, 300 validation, 300 test examples, seed 0" in words


def test_names_from_a_config_are_text_and_no_markup(run, copy):
    folder = copy(run)
    results = json.loads((folder / "results.json").read_text())
    results["data"]["name"] = "<script>alert(1)</script>"
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "commands.txt").write_text("aepretrain fit '<script>alert(2)</script>'\n")
    text = write_run_report(folder).read_text()
    assert "<script>alert" not in text
