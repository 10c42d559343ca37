"""A report of files that somebody else wrote: whatever they hold is shown as text, and no control character is left."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from aepretrain.cli.main import main
from aepretrain.report.markup import CONTROLS
from tests.support.fuzzing import changed, fuzz

pytestmark = pytest.mark.usefixtures("quick_embeddings")
EVIL = "<img src=x onerror=alert(1)>\"'&\x1b[31m\x00\u202e</script></style>{0}"
SHOWN = "<img src=x onerror=alert(1)>"
KNOWN = {
    "html", "head", "meta", "link", "title", "style", "script", "body", "h1", "h2", "h3", "p", "ul", "li", "b",
    "span", "div", "section", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary",
    "pre", "footer",
    "img", "svg", "g", "path", "rect", "text", "defs", "clippath", "use", "circle", "line",
}  # fmt: skip


class Page(HTMLParser):
    """All elements, attributes and text of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words, self.scripts, self.inside = set(), [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        (self.scripts if self.inside and self.inside[-1] == "script" else self.words).append(data)

    def unknown_decl(self, data):
        raise AssertionError(data)


def check_page(folder):
    """The page of a folder, of which every element and attribute is one of ours."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags <= KNOWN
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(value.startswith(("data:", "#")) for name, value in page.attributes if name in ("src", "href"))
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert not CONTROLS.search(text)
    return page


def poisoned(value, keep=()):
    """Plain values in which all text but that of some keys is evil."""
    if isinstance(value, dict):
        return {key: entry if key in keep else poisoned(entry, keep) for key, entry in value.items()}
    if isinstance(value, list):
        return [poisoned(entry, keep) for entry in value]
    return EVIL if isinstance(value, str) else value


def poison(folder):
    """Write evil text wherever a run's files have text that may be any."""
    results = json.loads((folder / "results.json").read_text())
    found = poisoned(results, keep=("stage", "fingerprint"))
    found["versions"] = {EVIL: EVIL}
    found["warnings"] = [EVIL]
    found["data"]["class_names"] = [EVIL] * 10
    for stage in found["stages"]:
        stage["diagnostics"] = {**stage["diagnostics"], EVIL: 1.0}
    (folder / "results.json").write_text(json.dumps(found))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows += [{**row, "stage": EVIL} for row in rows if row["stage"] != "classifier"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = folder / "stages" / re.sub(r"[/\x00]", "", f"02-{EVIL}")
    stage.mkdir()
    with np.load(folder / "stages" / "inputs.npz") as arrays:
        inputs = arrays["inputs"]
    np.savez(stage / "samples.npz", codes=inputs[:, :4])
    labels = np.array([EVIL.replace("\x00", ""), "b"] * len(inputs))[: len(inputs)]
    np.savez(folder / "stages" / "inputs.npz", inputs=inputs, labels=labels)


def poison_config(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(poisoned(config) | {EVIL: EVIL}))
    (folder / "commands.txt").write_text(f"aepretrain fit {EVIL}\n")


def test_whatever_a_run_holds_is_shown_as_text(run, copy, capsys):
    folder = copy(run)
    poison(folder)
    poison_config(folder)
    assert main(["report", str(folder)]) == 0
    page = check_page(folder)
    words = "".join(page.words)
    assert words.count(SHOWN) > 30
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


def test_whatever_a_comparison_holds_is_shown_as_text(comparison, copy):
    folder = copy(comparison)
    for cell in (folder / "runs").iterdir():
        if cell.name.startswith("pretraining-seed0"):
            poison(cell)
    summary = poisoned(json.loads((folder / "summary.json").read_text()), keep=("best", "labels"))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "commands.txt").write_text(f"aepretrain compare {EVIL}\n")
    lines = (folder / "results.csv").read_text().splitlines()
    cell = f"k={EVIL}".replace('"', '""').replace("\x00", "")
    lines[1:] = [re.sub(r"(?<=,)[^,]*$", f'"{cell}"', line).replace("\\", "") for line in lines[1:]]
    (folder / "results.csv").write_text("\n".join(lines))
    assert main(["report", str(folder)]) == 0
    assert "".join(check_page(folder).words).count(SHOWN) > 10


FORMS = {
    ".json": (json.loads, json.dumps),
    ".yaml": (yaml.safe_load, yaml.safe_dump),
    ".jsonl": (
        lambda text: [json.loads(line) for line in text.splitlines()],
        lambda rows: "".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows])),
    ),
}
"""How the files of a kind are read and written."""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ["results.json", "config.yaml", "metrics.jsonl"])
def test_a_report_of_any_values_is_drawn_or_refused_in_one_line(name, run, copy, capsys, monkeypatch):
    monkeypatch.setattr("aepretrain.report.pretraining.embeddings", lambda *arguments: [])
    folder = copy(run)
    path = folder / name
    text = path.read_text()
    parse, write = FORMS[path.suffix]

    def check(value):
        path.write_bytes(write(value).encode("utf-8", "surrogatepass"))
        code = main(["report", str(folder)])
        said = capsys.readouterr().err.strip()
        assert code in (0, 5), said
        assert code == 0 or (said.startswith("aepretrain: error: ") and len(said.splitlines()) == 1)
        if code == 0:
            check_page(folder)

    fuzz(changed(parse(text)), check, examples=5)
