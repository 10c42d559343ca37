"""Pictures and tables are decoded once, into a file that is never stale, and are then what they were."""

import os

import numpy as np
import pytest
import torch
import torchvision.datasets
import torchvision.transforms
from PIL import Image

from aepretrain import DataError, ImageFolder, ParquetFolder, StorageError
from aepretrain.cli.main import main
from aepretrain.data.rows import Rows
from tests.support.full_disk import largest_file

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None

needs_pyarrow = pytest.mark.skipif(pa is None, reason="needs the extra 'table'")
SIZES = {"validation": 10, "test": 10}


def pictures(folder, count=30, classes=("cat", "dog"), side=6, seed=0):
    generator = np.random.default_rng(seed)
    for k in range(count):
        home = folder / "pictures" / classes[k % len(classes)]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (side, side + 2, 3), dtype=np.uint8)).save(home / f"{k:03d}.png")
    return str(folder / "pictures")


def empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def cached(folder):
    return sorted(path for path in (folder / "cache").iterdir() if path.suffix == ".bin")


def whole(data):
    return data.read()[0][:]


@pytest.mark.parametrize(("size", "grey"), [(None, False), (4, False), (None, True)])
def test_pictures_are_those_that_torchvision_decodes(size, grey, tmp_path):
    root = pictures(tmp_path)
    data = ImageFolder(root, size=size, grey=grey, cache=str(tmp_path / "cache"), **SIZES)
    steps = [torchvision.transforms.Grayscale()] if grey else []
    steps += [torchvision.transforms.Resize(size), torchvision.transforms.CenterCrop(size)] if size else []
    steps += [torchvision.transforms.ToTensor()]
    known = torchvision.datasets.ImageFolder(root, torchvision.transforms.Compose(steps))
    torch.testing.assert_close(whole(data), torch.stack([x for x, _ in known]), atol=1e-7, rtol=0)
    assert data.y.tolist() == known.targets
    assert data.num_classes == 2
    assert data.in_shape == known[0][0].shape


def test_pictures_of_one_folder_have_no_classes_and_stay_in_their_file_within_a_budget(tmp_path):
    root = pictures(tmp_path, classes=("all",))
    loose, tight = (
        ImageFolder(root, cache=str(tmp_path / "cache"), memory_budget=budget, **SIZES).splits()
        for budget in (None, "24kB")
    )
    assert loose.train.y is None
    assert isinstance(tight.unlabelled, Rows)
    assert torch.equal(tight.unlabelled[:], loose.unlabelled)


def test_pictures_are_decoded_once_and_again_when_anything_changed(tmp_path):
    root = pictures(tmp_path)

    def read(**settings):
        return whole(ImageFolder(root, cache=str(tmp_path / "cache"), **SIZES, **settings))

    before, (file,) = read(), cached(tmp_path)
    stamp = file.stat().st_mtime_ns
    read()
    assert cached(tmp_path) == [file]
    assert file.stat().st_mtime_ns == stamp
    read(grey=True)
    assert file not in cached(tmp_path)
    assert len(cached(tmp_path)) == 1
    picture = tmp_path / "pictures" / "cat" / "000.png"
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(picture)
    os.utime(picture, ns=(1, 1))
    assert read()[0].abs().sum() == 0
    assert torch.equal(read()[1:], before[1:])
    os.truncate(cached(tmp_path)[0], 100)
    assert len(read()) == 30


def test_pictures_that_do_not_fit_or_cannot_be_decoded_are_named(tmp_path, monkeypatch):
    root, cache = pictures(tmp_path), str(tmp_path / "cache")
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tmp_path / "pictures" / "dog" / "999.png")
    with pytest.raises(DataError, match=r"999.png has the shape \(3, 3, 3\), but the first picture has \(3, 6, 8\)"):
        ImageFolder(root, cache=cache).splits()
    assert cached(tmp_path) == []
    (tmp_path / "pictures" / "dog" / "999.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"999.png cannot be decoded"):
        ImageFolder(root, cache=cache).splits()
    assert not list((tmp_path / "cache").glob("*.part"))
    (tmp_path / "pictures" / "dog" / "999.png").unlink()
    monkeypatch.setattr("aepretrain.storage.files.free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="has too little room: about 4,320 bytes needed, 1,000 free"):
        ImageFolder(root, cache=cache).splits()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sub-folders with pictures"):
        ImageFolder(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="does not exist"):
        ImageFolder(str(tmp_path / "nowhere"))


def test_a_full_disk_under_the_cache_leaves_nothing_half_decoded(tmp_path):
    data = ImageFolder(pictures(tmp_path), cache=str(tmp_path / "cache"), **SIZES)
    with largest_file(4200), pytest.raises(StorageError, match=r"\.bin cannot be written: .* 4,320 bytes needed"):
        data.read()
    assert not list((tmp_path / "cache").glob("*.bin*"))
    assert len(whole(data)) == 30


def table(folder, count=60, parts=3, **extra):
    """A folder of Parquet files, and what they hold."""
    generator, home = np.random.default_rng(0), folder / "table"
    home.mkdir()
    x = generator.random((count, 5)).astype(np.float32)
    x[:, 1] = generator.integers(0, 9, count)
    y = np.arange(count) % 3
    for part, rows in enumerate(np.array_split(np.arange(count), parts)):
        columns = {
            "height": pa.array(x[rows, 0].astype(np.float64)),
            "number": pa.array(x[rows, 1].astype(np.int16)),
            "kind": pa.array(y[rows]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(x[rows, 2:].reshape(-1)), 3),
            **{name: pa.array(values)[int(rows[0]) : int(rows[-1]) + 1] for name, values in extra.items()},
        }
        pq.write_table(pa.table(columns), home / f"{part}.parquet", row_group_size=7)
    return str(home), torch.from_numpy(x), torch.from_numpy(y)


@needs_pyarrow
def test_a_table_is_its_columns_in_their_order(tmp_path):
    root, x, y = table(tmp_path)
    data = ParquetFolder(root, "kind", cache=str(tmp_path / "cache"), memory_budget="2kB", **SIZES)
    assert torch.equal(whole(data), x)
    assert torch.equal(data.y, y)
    assert data.num_classes == 3
    assert isinstance(data.splits().unlabelled, Rows)
    some = ParquetFolder(root, columns=["vector", "height"], cache=str(tmp_path / "cache"), **SIZES)
    assert torch.equal(whole(some), x[:, [2, 3, 4, 0]])
    assert some.num_classes is None


@needs_pyarrow
def test_a_command_pretrains_on_a_table_within_a_budget(tmp_path):
    root, *_ = table(tmp_path)
    (tmp_path / "config.yaml").write_text(
        "layers: [{class_path: PlainAutoencoder, init_args: {coder: {class_path: Dense, init_args: {features: 2}}}}]\n"
        f"data: {{class_path: ParquetFolder, init_args: {{root: {root}, target: kind, cache: {tmp_path / 'cache'}}}}}\n"
        "report: false\n"
    )
    words = ["--data.memory_budget", "2kB", "--data.validation", "10", "--data.test", "10", "--pretrain.epochs", "2"]
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run"), *words]) == 0


@needs_pyarrow
@pytest.mark.parametrize(
    ("extra", "arguments", "message"),
    [
        ({"name": ["a"] * 60}, {}, "column name holds string and no numbers"),
        ({}, {"target": "sort"}, "has no column 'sort'. It has height, number, kind, vector"),
        ({}, {"target": "height"}, "labels must be whole numbers"),
        ({}, {"target": "vector"}, "labels must be one number per row"),
        (
            {"hole": [1.0] * 59 + [None]},
            {},
            "1 of 60 examples .* the first in row 19 of .*2.parquet, column hole",
        ),
    ],
)
def test_bad_tables_are_refused_by_what_is_wrong_with_them(extra, arguments, message, tmp_path):
    root, *_ = table(tmp_path, **extra)
    with pytest.raises(DataError, match=message):
        ParquetFolder(root, cache=str(tmp_path / "cache"), **SIZES, memory_budget="3kB", **arguments).splits()


@needs_pyarrow
def test_damaged_and_differing_files_are_named(tmp_path):
    root, *_ = table(tmp_path)
    other = pa.table({"height": ["a"], "number": [1], "kind": [0], "vector": [1]})
    pq.write_table(other, tmp_path / "table" / "3.parquet")
    with pytest.raises(DataError, match=r"3\.parquet: column height has not the type"):
        ParquetFolder(root, cache=str(tmp_path / "cache"), **SIZES).splits()
    (tmp_path / "table" / "3.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match=r"3\.parquet cannot be read"):
        ParquetFolder(root, cache=str(tmp_path / "cache"), **SIZES).splits()
    with pytest.raises(DataError, match=r"holds no .parquet files"):
        ParquetFolder(str(empty_folder(tmp_path)))
