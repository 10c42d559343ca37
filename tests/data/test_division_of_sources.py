"""Groups, times and given splits divide alike in every source, from files, columns, lists and arrays."""

import datetime
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aepretrain import Arrays, ConfigError, DataError, DataModule, Digits, ImageFolder, MappedArray, OneHotPatterns
from aepretrain.data import Examples, divide
from aepretrain.data.division import Division
from aepretrain.data.value_files import read_values
from tests.support.fuzzing import refusal

K = np.arange(60)
LEVELS = (K + 100).astype(np.uint8)
X = np.repeat(LEVELS[:, None], 4, axis=1).astype(np.float32) / 255
Y = np.repeat([0, 1], 30)
SUBJECTS = np.array([f"s{number:02d}" for number in K * 7 % 60 // 5])
DATES = np.array([f"2026-01-{day:02d}" for day in (K * 11 % 60) // 2 + 1])
NAMED = np.array(["train", "test", "train", "val", "train"])[K % 5]
WAYS = {
    "groups": {"groups": SUBJECTS},
    "time": {"order": "time", "times": DATES},
    "splits": {"splits": NAMED},
    "groups in the order of time": {"groups": SUBJECTS, "order": "time", "times": DATES},
    "a test split by groups": {
        "splits": np.where(np.isin(SUBJECTS, ("s01", "s07")), "test", "train"),
        "groups": SUBJECTS,
    },
}
CONTENT = {"groups": "groups", "times": "times", "given splits": "splits"}


def arrays(folder, how, **settings):
    return Arrays(X, Y, **how, **settings)


def mapped(folder, how, ending=".npy", **settings):
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    for name, values in how.items():
        if ending == ".npy" and name != "order":
            np.save(folder / f"{name}.npy", values)
        elif name != "order":
            head = [name] if ending == ".csv" else []
            (folder / f"{name}{ending}").write_text("\n".join([*head, *values]) + "\n")
    files = {name: value if name == "order" else str(folder / f"{name}{ending}") for name, value in how.items()}
    return MappedArray(str(folder / "x.npy"), str(folder / "y.npy"), **files, **settings)


def table(folder, how, **settings):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from aepretrain import ParquetFolder

    columns = {name: values for name, values in how.items() if name != "order"}
    features = {f"f{k}": X[:, k] for k in range(4)}
    whole = pa.table({**{name: values.tolist() for name, values in columns.items()}, **features, "kind": Y})
    for number in range(3):
        pq.write_table(whole.slice(number * 20, 20), folder / f"{number}.parquet")
    named = {name: value if name == "order" else name for name, value in how.items()}
    return ParquetFolder(str(folder), "kind", cache=str(folder / "cache"), **named, **settings)


def pictures(folder, how, *, listed=False, **settings):
    """Pictures that are named by subject, date and split; or numbered, with lists beside."""
    values = {name: each for name, each in how.items() if name != "order"}
    names = []
    for k in range(60):
        words = "" if listed else "_".join(f"{name}={values[name][k]}" for name in values)
        names.append(f"{'ab'[Y[k]]}/{k:02d}_{words}_.png")
        (folder / "pictures" / "ab"[Y[k]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), LEVELS[k])).save(folder / "pictures" / names[-1])
    found = {name: f"{name}=([^_]+)_" for name in values}
    for name in values if listed else ():
        lines = [f"{path},{value}" for path, value in zip(names, values[name], strict=True)]
        home = folder if name == "times" else folder / "pictures"
        (home / f"{name}.csv").write_text("\n".join(["path,value", *lines[::-1]]))
        found[name] = str(home / f"{name}.csv") if name == "times" else f"{name}.csv"
    order = {"order": how["order"]} if "order" in how else {}
    cache = str(folder / "cache")
    return ImageFolder(str(folder / "pictures"), grey=True, cache=cache, **found, **order, **settings)


SOURCES = {
    "MappedArray, .npy": mapped,
    "MappedArray, .csv with a name": lambda folder, how, **more: mapped(folder, how, ".csv", **more),
    "MappedArray, .txt": lambda folder, how, **more: mapped(folder, how, ".txt", **more),
    "MappedArray, in its file": lambda folder, how, **more: mapped(folder, how, memory_budget="1kB", **more),
    "ParquetFolder": table,
    "ImageFolder, by names": pictures,
    "ImageFolder, by lists": lambda folder, how, **more: pictures(folder, how, listed=True, **more),
}


def rows(data):
    splits = data.splits()
    parts = (splits.train, splits.validation, splits.test)
    return [(part.x[:].flatten(1)[:, 0] * 255 - 100).round().int().tolist() for part in parts]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", SOURCES)
def test_all_sources_divide_the_same_rows_alike(source, way, tmp_path):
    known, data = arrays(tmp_path, WAYS[way]), SOURCES[source](tmp_path, WAYS[way])
    assert rows(data) == rows(known)
    assert data.in_shape in ((4,), (1, 2, 2))
    assert data.own_splits == known.own_splits == (way in ("time", "splits", "groups in the order of time"))
    said = [note for note in data.notes if note.startswith("divided ")]
    assert len(said) == 1
    assert said[0].split(": ")[1] == known.notes[-1].split(": ")[1]


@pytest.mark.parametrize("source", ["Arrays", "MappedArray, .npy", "ParquetFolder", "ImageFolder, by names"])
def test_every_seed_divides_groups_anew_and_the_note_with_them(source, tmp_path):
    data = {"Arrays": arrays, **SOURCES}[source](tmp_path, WAYS["groups"])
    other = data.with_split(3)
    assert rows(other) != rows(data)
    train, *held_out = (set(SUBJECTS[each]) for each in rows(other))
    assert not train & set.union(*held_out)
    assert sum(note.startswith("divided by groups") for note in other.notes) == 1


@pytest.mark.parametrize("source", ["Arrays", "MappedArray, .npy", "ParquetFolder", "ImageFolder, by names"])
@pytest.mark.parametrize("name", CONTENT)
def test_what_divides_the_data_is_part_of_what_they_are(source, name, tmp_path):
    make, setting = {"Arrays": arrays, **SOURCES}[source], CONTENT[name]
    how = WAYS[{"groups": "groups", "times": "time"}.get(setting, "splits")]
    for folder in ("before", "now", "without"):
        (tmp_path / folder).mkdir()
    before = make(tmp_path / "before", how).fingerprint()
    swapped = how[setting].copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    now = make(tmp_path / "now", {**how, setting: swapped}).fingerprint()
    assert before.changes(now) == [f"the {name} (other values)"]
    assert f"the {name} (missing now)" in before.changes(make(tmp_path / "without", {}).fingerprint())


@pytest.mark.parametrize("how", [{"order": "time"}, {"splits": np.where(Y == 0, "train", "test")}])
def test_training_rows_of_one_class_alone_are_refused(how):
    data = Arrays(X, Y[np.argsort(Y, kind="stable")], **how, **({"test": 0.4} if "order" in how else {}))
    data.class_names = ["left", "right"]
    with pytest.raises(
        DataError, match=r"training split: examples must be of at least 2 classes, but all \d+ .* left\."
    ):
        data.splits()


def test_other_names_of_the_same_groups_are_the_same_data():
    renamed = np.char.replace(SUBJECTS, "s", "patient")
    assert Arrays(X, Y, groups=renamed).fingerprint() == Arrays(X, Y, groups=SUBJECTS).fingerprint()


def test_a_division_by_time_is_not_taken_for_a_random_one():
    before, now = Arrays(X, Y).fingerprint(), Arrays(X, Y, order="time").fingerprint()
    assert before.changes(now) == ["the times (none before)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join(["a"] * 59), "60 examples need as many groups, but there are 59"),
        ("a,b\n" * 60, r"one value per line is needed, but line 1 has 2\. Keep one column"),
        ("a\n" * 30 + "\n" + "a\n" * 29, "groups must not be missing, but 1 of 60 are, the first in row 30 "),
        (b"\xff\xfe\x00" * 60, r"is no text with commas: .* Save it as UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_of_groups_that_does_not_fit_is_named(text, message, tmp_path):
    mapped(tmp_path, {})
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=f"^{path}:? {message}"):
        MappedArray(str(tmp_path / "x.npy"), groups=str(path))


def test_a_parquet_file_of_one_column_holds_groups(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "groups.parquet"
    pq.write_table(pa.table({"subject": SUBJECTS.tolist()}), path)
    mapped(tmp_path, {})
    data = MappedArray(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), groups=str(path))
    assert rows(data) == rows(arrays(tmp_path, WAYS["groups"]))
    pq.write_table(pa.table({"subject": SUBJECTS.tolist(), "age": K}), path)
    with pytest.raises(DataError, match=r"one column is needed, but it has subject, age\. Keep one column"):
        MappedArray(str(tmp_path / "x.npy"), groups=str(path))


def test_columns_that_divide_a_table_are_no_features(tmp_path):
    how = {"groups": SUBJECTS, "order": "time", "times": DATES}
    data = table(tmp_path, how)
    assert data.columns == ["f0", "f1", "f2", "f3"]
    assert data.unused == []
    data = table(tmp_path, {**how, "times": K}, columns=["f0", "times"])
    assert (data.columns, data.unused) == (["f0", "times"], ["f1", "f2", "f3"])
    with pytest.raises(DataError, match="the column 'groups' holds the groups, and cannot be a feature"):
        table(tmp_path, how, columns=["f0", "groups"])


def test_wrong_values_of_a_table_are_named_by_file_and_row(tmp_path):
    with pytest.raises(DataError, match=r"has no column 'subject'\. .* or name another by data\.groups"):
        table(tmp_path, {}, groups="subject")
    holes = [None if k == 33 else name for k, name in enumerate(SUBJECTS)]
    with pytest.raises(DataError, match=r"column groups: groups must not be missing, .* row 13 of .*1\.parquet"):
        table(tmp_path, {"groups": np.array(holes, object)})
    wrong = np.where(K == 45, "later", NAMED)
    with pytest.raises(DataError, match=r"'later' in 1 row, the first of them row 5 of .*2\.parquet"):
        table(tmp_path, {"splits": wrong})


def test_partition_keys_are_groups_and_splits(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from aepretrain import ParquetFolder

    for subject in range(12):
        folder = tmp_path / "table" / f"subject={subject}" / f"part={('train', 'test')[subject % 3 == 0]}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"f": X[subject * 5 : subject * 5 + 5, 0]}), folder / "0.parquet")
    root, cache = str(tmp_path / "table"), str(tmp_path / "cache")
    data = ParquetFolder(root, groups="subject", splits="part", cache=cache)
    splits = data.splits()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 10, 20)
    assert "training examples of 6 groups" in data.notes[-1]
    assert not any("partition keys" in note for note in data.notes)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"groups": "(x"},
            ConfigError,
            r"must be a regular expression or a \.csv file, but '\(x' is neither",
        ),
        ({"groups": "x"}, ConfigError, r"data\.groups 'x' has no parentheses around the group"),
        (
            {"groups": r"/0(\d)_"},
            DataError,
            r"every picture in .*, but does not for 50 of 60 pictures: a/10_",
        ),
        ({"order": "time"}, ConfigError, r"data\.order time needs the times of pictures, .* Set data\.times"),
        ({"times": r"(\d+)_"}, ConfigError, r"data\.times is used by data\.order time alone"),
        (
            {"splits": r"(\d)_"},
            DataError,
            r"must be train, validation or test, but other names stand there: '0' in",
        ),
    ],
)
def test_pictures_whose_names_do_not_tell_are_refused(settings, error, message, tmp_path):
    pictures(tmp_path, {})
    with pytest.raises(error, match=message):
        ImageFolder(str(tmp_path / "pictures"), cache=str(tmp_path / "cache"), **settings)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a/00__.png,s1,old"], "a line must hold a path and a value, but line 1 holds 3 values"),
        (["a/00__.png,s1", "./a/00__.png,s2"], "a/00__.png stands there twice, with 's1' and 's2'"),
        (
            ["a/00__.png,s1", "other.png,s2"],
            "does not for 59 of 60 pictures: a/01__.png, .* Add lines with path,group",
        ),
    ],
)
def test_a_list_of_pictures_that_does_not_fit_is_refused(lines, message, tmp_path):
    pictures(tmp_path, {})
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        ImageFolder(str(tmp_path / "pictures"), cache=str(tmp_path / "c"), groups=str(tmp_path / "groups.csv"))


def test_groups_stay_with_their_pictures_where_bad_ones_are_skipped(tmp_path):
    data = pictures(tmp_path, WAYS["groups"], on_bad="skip")
    for path in list((tmp_path / "pictures" / "a").iterdir())[::4]:
        path.write_bytes(b"no picture")
    train, *held_out = (set(SUBJECTS[each]) for each in rows(data))
    assert sum(map(len, rows(data))) == 52
    assert not train & set.union(*held_out)


def test_split_folders_and_splits_by_name_are_not_both_taken(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        for k in range(10):
            Image.fromarray(np.full((2, 2), k, np.uint8)).save(tmp_path / "pictures" / split / f"{k}.png")
    message = r"data\.splits and the folders train, test both give the splits\. Leave data\.splits out"
    with pytest.raises(ConfigError, match=message):
        ImageFolder(str(tmp_path / "pictures"), cache=str(tmp_path / "c"), splits=r"(\w+)/\d")


class Walk(DataModule):
    """A source of a user's own."""

    in_shape, num_classes = (4,), 2

    def __init__(self, **how):
        super().__init__()
        self.how = how

    def load(self):
        return divide(Examples(torch.from_numpy(X), torch.from_numpy(Y)), seed=self.split_seed, **self.how)


@pytest.mark.parametrize("way", WAYS)
def test_a_source_of_ones_own_divides_by_the_same_function(way):
    data, known = Walk(**WAYS[way]), arrays(None, WAYS[way])
    assert rows(data) == rows(known)
    assert data.notes == known.notes[-1:]


def test_every_source_says_how_it_was_divided():
    said = []
    for data in (Digits(), OneHotPatterns(), Arrays(X, Y)):
        data.source()
        said.append(data.notes[-1])
    assert said == [
        "divided at random, stratified by class: 1197 training, 300 validation, 300 test examples.".replace(
            "1197", "1,197"
        ),
        "all three splits are the same patterns.",
        "divided at random, stratified by class: 36 training, 12 validation, 12 test examples.",
    ]


@pytest.mark.parametrize(
    "kind", ["timestamp[us, tz=UTC]", "timestamp[ns]", "date32[day]", "int64", "string", "decimal"]
)
def test_columns_of_dates_numbers_and_text_order_a_table(kind, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from aepretrain import ParquetFolder

    zone = datetime.UTC if "UTC" in kind else None
    dates = [datetime.datetime.fromisoformat(text).replace(tzinfo=zone) for text in DATES]
    column = {
        "date32[day]": lambda: pa.array([each.date() for each in dates]),
        "int64": lambda: pa.array([each.toordinal() for each in dates]),
        "decimal": lambda: pa.array([each.toordinal() for each in dates]).cast(pa.decimal128(20, 1)),
        "string": lambda: pa.array(DATES.tolist()).dictionary_encode(),
    }.get(kind, lambda: pa.array(dates, pa.timestamp(kind[10:12], "UTC" if zone else None)))()
    table = pa.table({"f": X[:, 0], "when": column})
    pq.write_table(table, tmp_path / "t.parquet")
    data = ParquetFolder(str(tmp_path / "t.parquet"), order="time", times="when", cache=str(tmp_path / "cache"))
    assert data.columns == ["f"]
    assert rows(data) == rows(Arrays(X, order="time", times=DATES))
    hole = pa.table({"f": X[:, 0], "when": pa.array([None, *column.to_pylist()[1:]], column.type)})
    pq.write_table(hole, tmp_path / "t.parquet")
    with pytest.raises(
        DataError, match=r"column when: times must not be missing, but 1 of 60 are, the first in row 0 of"
    ):
        ParquetFolder(str(tmp_path / "t.parquet"), order="time", times="when", cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["groups.csv", "groups.txt", "groups.npy", "groups.parquet"])
def test_pipes_are_not_waited_for(name, tmp_path):
    mapped(tmp_path, {})
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} cannot be read: "):
        MappedArray(str(tmp_path / "x.npy"), groups=str(tmp_path / name))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_in_a_file_of_groups_divide_or_are_refused_in_one_line(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "groups.csv"
    path.write_bytes(content)
    read = lambda: read_values(path, 6)  # noqa: E731
    error = refusal(lambda: Division.of(6, groups=read(), order="time", times=read()))
    assert error is None or "\n" not in str(error)
