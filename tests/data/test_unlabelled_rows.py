"""Few labels, many unlabelled rows: a mark, a hole, a folder without class or a second path, in every source."""

import numpy as np
import pytest
import scipy.sparse
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from aepretrain import Arrays, DataError, ImageFolder, MappedArray, from_loaders
from aepretrain.data.file_rows import JoinedFiles, RowFile
from aepretrain.data.rows import Rows

N = 90
K = np.arange(N)
MISSING = K % 3 > 0
"""Two of three rows have no label."""
X = np.column_stack([K, np.random.default_rng(0).random((N, 3)), K % 2]).astype(np.float32)
"""The first feature numbers the row."""
MORE = np.column_stack([1000 + K[:20], np.zeros((20, 4))]).astype(np.float32)
MARKED = np.where(MISSING, -1, K % 2)
HOLED = np.where(MISSING, np.nan, K / 7)


def table(x, **columns):
    pa = pytest.importorskip("pyarrow")
    return pa.table({f"c{k}": x[:, k] for k in range(x.shape[1])} | columns)


def arrays(y, folder, more, **settings):
    return Arrays(X, y, more_inputs=MORE if more else None, **settings)


def sparse(y, folder, more, **settings):
    return Arrays(scipy.sparse.csr_matrix(X), y, more_inputs=scipy.sparse.coo_array(MORE) if more else None, **settings)


def mapped(y, folder, more, **settings):
    for name, values in {"x": X, "y": y, "more": MORE}.items():
        np.save(folder / f"{name}.npy", values)
    return MappedArray(
        folder / "x.npy", folder / "y.npy", more_inputs=folder / "more.npy" if more else None, **settings
    )


def sparse_files(y, folder, more, **settings):
    np.save(folder / "y.npy", y)
    for name, values in {"x": X, "more": MORE}.items():
        scipy.sparse.save_npz(folder / f"{name}.npz", scipy.sparse.csr_array(values))
    return MappedArray(
        folder / "x.npz", folder / "y.npy", more_inputs=folder / "more.npz" if more else None, **settings
    )


def loader(y, folder, more, **settings):
    rows = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), 16)
    return from_loaders(rows, more_inputs=MORE if more else None, cache=folder / "cache", **settings)


def parquet(kind, y, folder, more, **settings):
    import aepretrain

    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(table(X, y=y), folder / "t.parquet")
    pq.write_table(table(MORE), folder / "more.parquet")
    path = folder / "more.parquet" if more else None
    settings |= {"transform": "none", "cache": folder / "cache"}
    return getattr(aepretrain, kind)(folder / "t.parquet", "y", more_inputs=path, **settings)


SOURCES = {
    "Arrays": arrays,
    "sparse Arrays": sparse,
    "MappedArray": mapped,
    "sparse MappedArray": sparse_files,
    "loaders": loader,
    "ParquetFolder": lambda *args, **settings: parquet("ParquetFolder", *args, **settings),
    "Table": lambda *args, **settings: parquet("Table", *args, **settings),
}


def numbers(x):
    return [round(value) for value in x[:, 0].tolist()]


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("y", [MARKED, HOLED], ids=["classes", "real"])
@pytest.mark.parametrize("name", SOURCES)
def test_rows_without_a_label_are_in_the_pool_alone(name, y, more, tmp_path):
    data = SOURCES[name](y, tmp_path, more)
    splits = data.splits()
    labelled = [row for part in (splits.train, splits.validation, splits.test) for row in numbers(part.x)]
    assert sorted(labelled) == K[~MISSING].tolist()
    expected = [*numbers(splits.train.x), *K[MISSING].tolist(), *(range(1000, 1020) if more else ())]
    assert sorted(numbers(splits.unlabelled[:])) == sorted(expected)
    assert "60 rows without a label: they are for pretraining alone." in data.notes
    for part in (splits.train, splits.validation, splits.test):
        rows = numbers(part.x)
        known = torch.tensor([rows[k] % 2 if y is MARKED else rows[k] / 7 for k in range(len(rows))])
        torch.testing.assert_close(part.y.float(), known.float())
    assert "inputs without labels" in data.fingerprint().parts or name in ("Arrays", "sparse Arrays", "loaders")


@pytest.mark.parametrize("name", SOURCES)
def test_a_label_budget_takes_no_row_from_the_pool(name, tmp_path):
    data = SOURCES[name](MARKED, tmp_path, True)
    assert len(data.splits().unlabelled) == len(data.with_labels(4).splits().unlabelled) == 18 + 60 + 20
    assert len(data.with_labels(4).splits().train) == 4


@pytest.mark.parametrize("name", ["Arrays", "MappedArray"])
@pytest.mark.parametrize("setting", ["groups", "order", "splits"])
def test_no_unlabelled_row_belongs_with_a_held_out_one(setting, name, tmp_path):
    place = np.array(["train", "validation", "test"])[K // 30] if setting == "splits" else K // 6
    np.save(tmp_path / "place.npy", place)
    given = place if name == "Arrays" else tmp_path / "place.npy"
    how = {"order": {"order": "time", "times": given}}.get(setting, {setting: given})
    data = SOURCES[name](MARKED, tmp_path, False, **how)
    splits = data.splits()
    pool = {place[row] for row in numbers(splits.unlabelled[:])}
    held_out = {place[row] for part in (splits.validation, splits.test) for row in numbers(part.x)}
    assert not pool & held_out
    assert any(MISSING[row] for row in numbers(splits.unlabelled[:]))
    assert any("rows without a label left out: they belong with held-out examples" in note for note in data.notes)


@pytest.mark.parametrize("name", ["MappedArray", "ParquetFolder", "loaders"])
def test_rows_of_two_files_may_exceed_memory_and_are_the_same_bits(name, tmp_path):
    sizes = {} if name == "loaders" else {"validation": 6, "test": 6}
    whole = SOURCES[name](MARKED, tmp_path, True, **sizes).splits()
    pieced = SOURCES[name](MARKED, tmp_path, True, memory_budget="3kB", **sizes).splits()
    assert isinstance(pieced.unlabelled, Rows)
    assert torch.equal(whole.unlabelled, pieced.unlabelled[:])
    order = torch.randperm(len(whole.unlabelled))
    assert torch.equal(whole.unlabelled[order], pieced.unlabelled[order])


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_a_second_file_may_be_of_another_type(dtype, tmp_path):
    for name, values in {"x": X, "more": MORE.astype(dtype)}.items():
        np.save(tmp_path / f"{name}.npy", values)
    data = MappedArray(tmp_path / "x.npy", more_inputs=tmp_path / "more.npy")
    assert numbers(data.splits().unlabelled[-20:]) == MORE[:, 0].astype(dtype).astype(int).tolist()


def test_rows_of_joined_files_come_in_any_order_asked_for(tmp_path):
    paths = []
    for k, values in enumerate((np.arange(12, dtype=np.float32), 100 + np.arange(6, dtype=np.float32))):
        paths.append(tmp_path / f"{k}.bin")
        values.tofile(paths[-1])
    joined = JoinedFiles(RowFile(paths[0], (2,), torch.float32), 6, RowFile(paths[1], (2,), torch.float32))
    rows = torch.tensor([7, 0, 8, 5, 7])
    assert joined.read(rows)[:, 0].tolist() == [102.0, 0.0, 104.0, 10.0, 102.0]
    assert joined.read(torch.tensor([6, 8]))[:, 1].tolist() == [101.0, 105.0]
    joined.close()


def test_a_second_file_of_another_shape_or_scale_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for values, message in (
        (MORE[:, :3], r"rows must have the shape \(5,\) of those in .*x\.npy, but have \(3,\)"),
        (MORE.astype(np.uint8), "values must be of one scale with .*x.npy, but are uint8, and those float32"),
        (np.full((3, 5), np.nan, np.float32), "NaN or infinity, the first in row 0 of .*more.npy"),
    ):
        np.save(tmp_path / "more.npy", values)
        with pytest.raises(DataError, match=message):
            MappedArray(tmp_path / "x.npy", more_inputs=tmp_path / "more.npy").splits()
    with pytest.raises(DataError, match="does not exist"):
        MappedArray(tmp_path / "x.npy", more_inputs=tmp_path / "none.npy")


def test_a_label_that_moves_to_another_row_is_noticed():
    y = np.where(MISSING, -1, K % 2)
    moved = y.copy()
    moved[[6, 7]] = y[[7, 6]]
    assert Arrays(X, y).fingerprint().changes(Arrays(X, moved).fingerprint()) == ["the labelled rows (other values)"]


def draw(home, count, first):
    """Pictures of one grey level each, which numbers them."""
    home.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(np.full((4, 4), first + k, np.uint8)).save(home / f"{k:02d}.png")


def levels(x):
    return sorted((x[:, 0, 0, 0] * 255).round().int().tolist())


def pictures(tmp_path, **settings):
    return ImageFolder(tmp_path / "pets", grey=True, cache=tmp_path / "cache", **settings)


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_a_folder_for_pictures_without_class_is_in_the_pool_alone(name, tmp_path):
    for kind, count, first in (("cat", 10, 0), ("dog", 10, 50), (name, 8, 100)):
        draw(tmp_path / "pets" / kind, count, first)
    draw(tmp_path / "more" / "deep", 5, 200)
    data = pictures(tmp_path, more_inputs=tmp_path / "more")
    assert data.class_names == ["cat", "dog"]
    splits = data.splits()
    labelled = [*levels(splits.train.x), *levels(splits.validation.x), *levels(splits.test.x)]
    assert sorted(labelled) == [*range(10), *range(50, 60)]
    assert set(levels(splits.unlabelled)) == {*levels(splits.train.x), *range(100, 108), *range(200, 205)}
    assert "(cat: 10, dog: 10; 13 without a class, for pretraining alone)" in data.notes[0]
    for part in (splits.train, splits.validation, splits.test):
        expected = [int(level >= 50) for level in (part.x[:, 0, 0, 0] * 255).round().int().tolist()]
        assert part.y.tolist() == expected


def test_beside_given_splits_it_is_for_training_and_in_one_it_is_of_this_split(tmp_path):
    first = 0
    for split in ("train", "test"):
        for kind in ("cat", "dog", "unlabelled"):
            draw(tmp_path / "pets" / split / kind, 5, first)
            first += 10
    draw(tmp_path / "pets" / "unlabelled", 5, 200)
    data = pictures(tmp_path, validation=2)
    splits = data.splits()
    assert levels(splits.test.x) == [*range(30, 35), *range(40, 45)]
    pool = set(levels(splits.unlabelled))
    assert pool >= {*range(20, 25), *range(200, 205)}
    assert not pool & {*range(30, 60), *levels(splits.validation.x)}
    assert any(note.startswith("5 rows without a label left out") for note in data.notes)


def test_bad_pictures_without_a_class_can_be_skipped(tmp_path):
    for kind, first in (("cat", 0), ("dog", 50), ("unlabelled", 100)):
        draw(tmp_path / "pets" / kind, 10, first)
    (tmp_path / "pets" / "unlabelled" / "03.png").write_bytes(b"no picture")
    splits = pictures(tmp_path, on_bad="skip").splits()
    assert {*range(100, 110)} - set(levels(splits.unlabelled)) == {103}


def test_a_flat_folder_has_no_classes_and_a_lone_folder_may_have_any_name(tmp_path):
    draw(tmp_path / "pets", 10, 0)
    assert pictures(tmp_path).num_classes is None
    draw(tmp_path / "other" / "unlabelled", 10, 0)
    data = ImageFolder(tmp_path / "other", grey=True, cache=tmp_path / "cache")
    assert (data.num_classes, len(data.splits().unlabelled)) == (None, 6)


def test_one_class_beside_unlabelled_pictures_is_no_classification(tmp_path):
    draw(tmp_path / "pets" / "cat", 10, 0)
    draw(tmp_path / "pets" / "unlabelled", 10, 100)
    data = pictures(tmp_path)
    assert data.num_classes is None
    assert len(data.splits().unlabelled) == 12
