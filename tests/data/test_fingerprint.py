"""A fingerprint sees every change of the data, and nothing else."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import aepretrain.data.fingerprint
from aepretrain import Arrays, DataError, Digits, ImageFolder, MappedArray, OneHotPatterns
from aepretrain.data.fingerprint import check_data
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.records import from_plain, to_plain

X = np.random.default_rng(0).random((90, 4), dtype=np.float32)
Y = np.arange(90) % 3


def save(folder, x=X, y=Y):
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return folder


def mapped(folder, **settings):
    return MappedArray(str(folder / "x.npy"), str(folder / "y.npy"), **settings)


def changed(values, place, value):
    values = values.copy()
    values[place] = value
    return values


@pytest.mark.parametrize(
    "settings",
    [
        {"memory_budget": "2kB"},
        {"labels": 9},
        {"unlabelled": 20},
        {"transform": "standardize"},
        {"transform": "standardize", "memory_budget": "2kB"},
    ],
)
def test_budgets_and_scaling_do_not_change_what_the_data_are(settings, tmp_path):
    before = mapped(save(tmp_path), validation=9, test=9).fingerprint()
    assert mapped(tmp_path, validation=9, test=9, **settings).fingerprint() == before


def test_neither_the_folder_nor_the_time_of_a_file_matters(tmp_path):
    before = mapped(save(tmp_path / "a")).fingerprint()
    os.utime(tmp_path / "a" / "x.npy", (1, 1))
    assert mapped(tmp_path / "a").fingerprint() == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert mapped(tmp_path / "b").fingerprint() == before


@pytest.mark.parametrize("budget", [None, "2kB"])
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, changed(Y, 7, 2), ["the labels (other values)"]),
        (changed(X, (41, 2), 0.5), Y, ["the inputs (other values)"]),
        (X[::-1], Y, ["the inputs (other values)"]),
        (np.ascontiguousarray(X[:, [1, 0, 2, 3]]), Y, ["the inputs (other values)"]),
        (
            X[:60],
            Y[:60],
            ["the labels (shape (60,) instead of (90,))", "the inputs (shape (60, 4) instead of (90, 4))"],
        ),
        (X, Y % 2, ["the labels (other values)"]),
    ],
)
def test_every_change_of_a_file_is_named(x, y, words, budget, tmp_path):
    sizes = {"validation": 9, "test": 9, "memory_budget": budget}
    before = mapped(save(tmp_path), **sizes).fingerprint()
    assert before.changes(mapped(save(tmp_path, x, y), **sizes).fingerprint()) == words


def test_arrays_in_memory_have_the_fingerprint_of_the_same_values_in_a_file(tmp_path):
    data = Arrays(X, Y)
    assert data.fingerprint() == mapped(save(tmp_path)).fingerprint()
    assert data.fingerprint().changes(Arrays(X, None).fingerprint()) == ["the labels (missing now)"]
    assert data.fingerprint().changes(Arrays(X, Y, more_inputs=X).fingerprint()) == [
        "the inputs without labels (none before)"
    ]
    assert data.fingerprint().changes(Arrays(X, Y, test=0.1).fingerprint()) == [
        "the training, validation and test splits (63, 18, 9 instead of 54, 18, 18 examples)"
    ]


def test_a_source_that_tells_no_content_is_described_by_its_splits():
    class OfSplits(Digits):
        def load(self):
            return replace(super().load(), content=None)

    before, other = OfSplits(labels=50), OfSplits()
    source = other.source()
    source.validation.y[3] = (source.validation.y[3] + 1) % 10
    source.test.x[0, 0, 0, 0] += 1
    assert before.fingerprint().changes(other.fingerprint()) == [
        "the labels of the validation split (other values)",
        "the inputs of the test split (other values)",
    ]
    assert set(OneHotPatterns(4).fingerprint().parts) == {
        f"inputs of the {s} split" for s in ("training", "validation", "test")
    }


def images(folder, names):
    for k, name in enumerate(names):
        for number in range(4):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels = np.full((5, 5, 3), 40 * k + number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("cats", ["the class names (cats instead of cat)"]),
        ("zebra", ["the class names (zebra instead of cat)", "the inputs (other values)"]),
    ],
)
def test_a_renamed_class_folder_is_named(new, words, tmp_path):
    images(tmp_path / "pictures", ["cat", "dog"])
    settings = {"cache": str(tmp_path / "cache"), "validation": 2, "test": 2}
    before = ImageFolder(str(tmp_path / "pictures"), **settings).fingerprint()
    (tmp_path / "pictures" / "cat").rename(tmp_path / "pictures" / new)
    assert before.changes(ImageFolder(str(tmp_path / "pictures"), **settings).fingerprint()) == words


def test_it_is_taken_once_and_anew_in_another_process(monkeypatch):
    data = Arrays(X, Y)
    taken = []
    take = aepretrain.data.fingerprint.digest_of
    monkeypatch.setattr(aepretrain.data.fingerprint, "digest_of", lambda x: taken.append(x) or take(x))
    assert data.fingerprint() == data.with_labels(30).fingerprint() == data.with_labels(60).fingerprint()
    assert len(taken) == 2
    elsewhere = pickle.loads(pickle.dumps(data))
    assert elsewhere.fingerprint() == data.fingerprint()
    assert len(taken) == 4


def test_a_record_of_it_is_the_same_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(aepretrain.data.fingerprint, "WHOLE", 0)
    found = mapped(save(tmp_path), memory_budget="2kB", validation=9, test=9).fingerprint()
    assert found.files is not None
    assert from_plain(Fingerprint, to_plain(found)) == found
    assert from_plain(Fingerprint, to_plain(found)).digest == found.digest


class TestLargeFiles:
    """Files above a limit are sampled: here the limit is 0, and 10 of 90 rows are read."""

    @pytest.fixture(autouse=True)
    def limits(self, monkeypatch):
        monkeypatch.setattr(aepretrain.data.fingerprint, "WHOLE", 0)
        monkeypatch.setattr(aepretrain.data.fingerprint, "SAMPLES", 10)

    def test_sampled_rows_are_the_same_with_and_without_a_memory_budget(self, tmp_path):
        loose = mapped(save(tmp_path), validation=9, test=9).fingerprint()
        assert loose.parts["inputs"].rows == 10
        assert mapped(tmp_path, validation=9, test=9, memory_budget="2kB").fingerprint() == loose

    @pytest.mark.parametrize("row", [0, 89])
    def test_replaced_rows_are_noticed_where_they_are_sampled(self, row, tmp_path):
        before = mapped(save(tmp_path)).fingerprint()
        assert before.changes(mapped(save(tmp_path, changed(X, row, 0.5))).fingerprint()) == [
            "the inputs (other values)"
        ]

    def test_another_size_is_noticed(self, tmp_path):
        before = mapped(save(tmp_path)).fingerprint()
        with (tmp_path / "x.npy").open("ab") as file:
            file.write(b"more")
        assert before.changes(mapped(tmp_path).fingerprint()) == [
            f"the sizes of the files (2 files of {before.files.bytes + 4:,} bytes instead of "
            f"2 files of {before.files.bytes:,} bytes)"
        ]

    def test_another_time_alone_is_a_warning(self, tmp_path, capsys):
        before = mapped(save(tmp_path)).fingerprint()
        check_data(mapped(tmp_path), before, "runs/a", "")
        assert capsys.readouterr().out == ""
        os.utime(tmp_path / "x.npy", (1, 1))
        now = mapped(tmp_path)
        assert now.fingerprint().digest == before.digest
        check_data(now, before, "runs/a", "")
        said = " ".join(capsys.readouterr().out.split())
        assert said.startswith("warning: MappedArray in")
        assert "x.npy" in said
        assert "was written again since runs/a was made" in said


def test_the_error_names_what_changed_and_where(tmp_path):
    before = mapped(save(tmp_path)).fingerprint()
    now = mapped(save(tmp_path, changed(X, 3, 0.5), changed(Y, 7, 2)))
    with pytest.raises(DataError) as error:
        check_data(now, before, "runs/a", "Put it back.")
    files = f"{tmp_path / 'x.npy'}, {tmp_path / 'y.npy'}"
    assert str(error.value) == (
        f"runs/a was made with other data than MappedArray in {files}: the labels (other values) and the inputs (other "
        "values) changed. Put it back."
    )


def test_half_precision_and_bytes_are_read_as_the_numbers_they_are(tmp_path):
    for dtype in (np.float16, np.uint8):
        values = (X * 100).astype(dtype)
        before = mapped(save(tmp_path, values)).fingerprint()
        assert before == Arrays(torch.from_numpy(values), Y).fingerprint()
