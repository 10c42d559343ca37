"""Tables as pandas, Spark and others write them: what is left out is said, and rows are named in their own file."""

import json
import re

import numpy as np
import pytest
import torch

from aepretrain import DataError, ParquetFolder
from aepretrain.data.parquet_files import read_batches
from tests.support.warned import special_warnings

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

K = np.arange(60)
A, B = np.random.default_rng(0).random((2, 60)).astype(np.float32)
FILES = ("0.parquet", "1.parquet", "2.parquet")
YEARS = ("year=2024/0.parquet", "year=2025/0.parquet", "year=2026/0.parquet")


def write(folder, names=FILES, edit=lambda part, number: part, **columns):
    """A table of 60 rows in files of equal size, each changed by ``edit``."""
    table = pa.table({"a": A, "b": B, "kind": K % 3, **columns})
    size = 60 // len(names)
    for number, name in enumerate(names):
        path = folder / "table" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(edit(table.slice(number * size, size), number), path, row_group_size=7)


def read(folder, target="kind", budget=None, **settings):
    settings = {"cache": str(folder / "cache"), "validation": 10, "test": 10, "memory_budget": budget, **settings}
    data = ParquetFolder(str(folder / "table"), target, **settings)
    data.splits()
    return data


def values(data):
    return data.read()[0][:]


def drop(name, file):
    return lambda part, number: part.drop_columns([name]) if number == file else part


def hole(kind=float):
    return pa.array([None if k in (33, 50) else kind(k % 7) for k in K])


def lists(wrong, at=33):
    rows = [[1.0 * k, 2.0, 3.0] for k in K]
    return pa.array([wrong if k == at else rows[k] for k in K], pa.list_(pa.float64()))


TYPES = {
    "text": pa.array(["x", "y", "z"] * 20),
    "large text": pa.array(["x", "y", "z"] * 20, pa.large_string()),
    "bytes": pa.array([b"x", b"y", b"z"] * 20),
    "categories": pa.array(["x", "y", "z"] * 20).dictionary_encode(),
}


@pytest.mark.parametrize("name", TYPES)
def test_labels_of_text_are_classes(name, tmp_path):
    write(tmp_path, kind=TYPES[name])
    data = read(tmp_path)
    assert data.class_names == ["x", "y", "z"]
    assert torch.equal(data.y, torch.arange(60) % 3)
    assert "the labels name 3 classes, numbered from 0 in this order: x, y, z." in data.notes


def test_labels_may_be_booleans_decimals_and_partition_keys(tmp_path):
    write(tmp_path / "1", kind=K % 2 == 0)
    assert read(tmp_path / "1").class_names == ["False", "True"]
    write(tmp_path / "2", kind=pa.array((K % 3).tolist()).cast(pa.decimal128(22, 2)))
    assert read(tmp_path / "2").class_names is None
    names = ("kind=x%20y/0.parquet", "kind=y/0.parquet", "kind=y/1.parquet")
    write(tmp_path / "3", names, lambda part, number: part.drop_columns(["kind"]))
    data = read(tmp_path / "3")
    assert data.class_names == ["x y", "y"]
    assert data.y.bincount().tolist() == [20, 40]


WRONG = {
    "a hole": ({"c": hole()}, "2 of 60 .* first in row 13 of .*1.parquet, column c "),
    "a hole among whole numbers": ({"c": hole(int)}, "the first in row 13 of .*1.parquet, column c "),
    "a hole among booleans": ({"c": hole(bool)}, "the first in row 13 of .*1.parquet, column c "),
    "infinite targets": (
        {"kind": np.where(K == 33, np.inf, K / 7)},
        "real targets must be finite.* row 13 of .*1.parquet",
    ),
    "dates": ({"kind": pa.array((K % 3).astype("M8[ms]"))}, "labels must be whole numbers or names, but are dates"),
    "too large": ({"c": np.where(K == 33, 1e300, 1)}, r"column c is 1e\+300 in row 13 of .*1\.parquet"),
    "a clock": ({"c": 1_700_000_000 + K}, "column c has values too close for float32"),
    "a clock in lists": ({"c": pa.array([[1.0, 1.7e9 + k] for k in K])}, r"column c\[1\] has values too close"),
    "a shorter list": (
        {"c": lists([1.0])},
        "c must hold lists of one length, but row 13 of .*1.parquet .* of 1",
    ),
    "no list": ({"c": lists(None)}, "row 13 of .*1.parquet .* holds no list"),
    "no first list": ({"c": lists(None, at=0)}, "row 0 of .*0.parquet .* holds no list"),
    "a hole in a list": ({"c": lists([1.0, None, 2.0])}, r"row 13 of .*1.parquet, column c\[1\]"),
    "empty lists": ({"c": pa.array([[]] * 60, pa.list_(pa.int64()))}, "column c holds no list of numbers in any row"),
    "lists of lists": ({"c": [[[1.0]]] * 60}, r"column c \(list<.*>\) holds no numbers"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("budget", [None, "3kB"])
def test_wrong_values_are_named_by_file_row_and_column(name, budget, tmp_path):
    columns, message = WRONG[name]
    write(tmp_path, **columns)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, budget=budget)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int64(), 2)])
def test_lists_of_one_length_are_features_whatever_their_type(kind, tmp_path):
    rows = [[k % 5, k % 7] for k in K]
    write(tmp_path, vector=pa.array(rows, kind))
    data = read(tmp_path)
    assert data.in_shape == (4,)
    assert torch.equal(values(data)[:, 2:], torch.tensor(rows).float())


@pytest.mark.parametrize("index", ["__index_level_0__", "when"])
def test_the_index_of_pandas_is_no_feature_unless_it_is_named(index, tmp_path):
    facts = {b"pandas": json.dumps({"index_columns": [index], "columns": []}).encode()}
    write(tmp_path, edit=lambda part, number: part.replace_schema_metadata(facts), **{index: K % 11})
    data = read(tmp_path)
    assert data.columns == ["a", "b"]
    assert f"left out: {index}, the index of a pandas table, which numbers or names rows." in data.notes
    assert read(tmp_path, columns=["a", index]).in_shape == (2,)


def test_an_index_that_is_a_range_or_undescribed_is_no_feature(tmp_path):
    facts = {b"pandas": json.dumps({"index_columns": [{"kind": "range"}]}).encode()}
    write(tmp_path, edit=lambda part, number: part.replace_schema_metadata(facts), __index_level_0__=K)
    assert read(tmp_path).columns == ["a", "b"]


def test_columns_that_tell_the_answer_are_warned_of_by_name(tmp_path):
    write(tmp_path, copy=(K % 3).astype(np.int16), id=K + 5)
    copied, counted = special_warnings(read(tmp_path))
    assert "column copy tells the label of every row, one to one" in copied
    assert "column id only counts the rows" in counted


def test_hidden_and_temporary_files_are_left_out_and_named(tmp_path):
    write(tmp_path)
    junk = (".x.parquet", "y.parquet~", "_temporary/0.parquet", ".0.parquet.crc", "_SUCCESS")
    for name in junk:
        path = tmp_path / "table" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"junk")
    data = read(tmp_path)
    assert torch.equal(values(data), torch.from_numpy(np.c_[A, B]))
    (note,) = (note for note in data.notes if "files left out" in note)
    assert all(name in note for name in junk)
    assert any("60 rows in 3 files." in note for note in data.notes)


def test_a_column_that_only_some_files_have_is_named(tmp_path):
    write(tmp_path / "1", edit=drop("b", 0))
    data = read(tmp_path / "1")
    assert data.columns == ["a"]
    assert "column b is in 2 of 3 files" in data.warnings[0]
    assert "0.parquet: it is left out" in data.warnings[0]
    write(tmp_path / "2", edit=drop("b", 1))
    with pytest.raises(DataError, match=r"1\.parquet has no column 'b'.*0\.parquet has it"):
        read(tmp_path / "2")
    assert read(tmp_path / "2", columns=["a"]).warnings == []


def test_a_partitioned_folder_is_read_and_its_keys_are_features_only_by_name(tmp_path):
    write(tmp_path, YEARS)
    data = read(tmp_path)
    assert torch.equal(values(data), torch.from_numpy(np.c_[A, B]))
    assert any("left out: the partition keys year" in note for note in data.notes)
    years = values(read(tmp_path, columns=["year", "a"]))
    assert torch.equal(years, torch.from_numpy(np.c_[2024 + K // 20, A]).float())
    write(tmp_path / "text", ("c=x/0.parquet", "c=y/0.parquet"))
    with pytest.raises(DataError, match="the partition key c is 'x' and no number"):
        read(tmp_path / "text", columns=["a", "c"])


def test_a_row_of_a_partitioned_folder_without_its_key_is_refused(tmp_path):
    write(tmp_path, ("year=2024/0.parquet", "1.parquet"))
    with pytest.raises(DataError, match=r"1\.parquet: the partition key year is None and no number"):
        read(tmp_path, columns=["a", "year"])


def test_files_whose_labels_differ_in_kind_are_refused_and_not_mixed(tmp_path):
    def edit(part, number):
        return part.set_column(2, "kind", pa.array([True] * 20)) if number == 1 else part

    write(tmp_path, edit=edit)
    with pytest.raises(DataError, match=r"most are numbers and row 0 of .*1.parquet .* holds True"):
        read(tmp_path)


def test_a_cache_of_a_version_that_checked_less_is_decoded_again(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr("aepretrain.data.parquet.CHECKS", 1)
    read(tmp_path)
    before = sorted((tmp_path / "cache").glob("*.bin"))
    monkeypatch.undo()
    read(tmp_path)
    assert sorted((tmp_path / "cache").glob("*.bin")) != before


def test_all_columns_without_numbers_are_named_with_those_to_copy(tmp_path):
    dates, colours = pa.array(K.astype("M8[ms]")), pa.array(["red"] * 60)
    write(tmp_path, island=colours, when=dates, colour=colours.dictionary_encode())
    message = r"columns island \(text\), when \(dates or times\), colour \(categories\) hold no numbers"
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    (copied,) = re.findall(r"leave them out: --data\.columns '\[(.*)\]'\.", str(caught.value))
    assert read(tmp_path, columns=copied.split(", ")).columns == copied.split(", ")


def test_a_target_that_is_missing_is_named_before_the_columns_that_hold_text(tmp_path):
    write(tmp_path, species=pa.array(["a", "b"] * 30))
    with pytest.raises(DataError, match=r"has no column 'Species'\. It has .*species.* by data\.target"):
        read(tmp_path, target="Species")
    for role in ("groups", "splits"):
        with pytest.raises(DataError, match=rf"has no column 'Species'.* by data\.{role}"):
            read(tmp_path, **{role: "Species"})


def test_decoding_holds_one_row_group_of_a_file(tmp_path):
    path, x = tmp_path / "x.parquet", np.random.default_rng(0).random((20_000, 10))
    pq.write_table(pa.table({f"c{k}": x[:, k] for k in range(10)}), path, row_group_size=1000)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_batches(path, 500, [f"c{k}" for k in range(10)])]
    assert len(held) == 40
    assert max(held) < x.nbytes // 4
