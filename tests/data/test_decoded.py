"""Pictures and tables are decoded once, into a file that is checked when it is opened, and are then what they were."""

import errno
import os
import shutil

import numpy as np
import pytest
import torch
import torchvision.datasets
import torchvision.transforms
from PIL import Image

from aepretrain import DataError, ImageFolder, ParquetFolder, StorageError
from aepretrain.cli.main import main
from aepretrain.data import decoded
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


def grey(folder, level):
    """A picture that every other one equals in size, whatever its level."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / "a.bmp")
    os.utime(folder / "a.bmp", ns=(1, 1))
    return folder / "a.bmp"


def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path):
    before = grey(tmp_path / "pictures", 10).stat()
    shutil.copy(tmp_path / "pictures" / "a.bmp", tmp_path / "pictures" / "b.bmp")

    def read():
        return (
            (whole(ImageFolder(str(tmp_path / "pictures"), cache=str(tmp_path / "cache")))[0] * 255).unique().tolist()
        )

    assert read() == [10]
    after = grey(tmp_path / "pictures", 20).stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    assert read() == [20]


def test_a_damaged_cache_is_made_again_with_one_line(tmp_path, capsys):
    root = pictures(tmp_path)

    def read():
        return whole(ImageFolder(root, cache=str(tmp_path / "cache"), **SIZES))

    before, (file,) = read(), cached(tmp_path)
    assert capsys.readouterr().out == ""
    held, stamp = file.read_bytes(), file.stat().st_mtime_ns
    for damage in (b"\0" * len(held), held[:-1] + bytes([held[-1] ^ 1]), held[:100]):
        file.write_bytes(damage)
        os.utime(file, ns=(stamp, stamp))
        assert torch.equal(read(), before)
        assert file.read_bytes() == held
        assert capsys.readouterr().out == (
            f"{file} is damaged: its SHA-256 is not the one that was noted beside it. The data are decoded again.\n"
        )
    file.with_suffix(".json").unlink()
    assert torch.equal(read(), before)
    assert "there is no SHA-256 beside it" in capsys.readouterr().out
    file.with_suffix(".json").write_text("{")
    assert torch.equal(read(), before)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_digest_of_a_cache_is_computed_once_by_a_process(tmp_path, monkeypatch):
    root, asked = pictures(tmp_path), []
    whole(ImageFolder(root, cache=str(tmp_path / "cache"), **SIZES))
    monkeypatch.setattr("aepretrain.data.decoded._verified", set())
    digest = decoded.sha256_of
    monkeypatch.setattr("aepretrain.data.decoded.sha256_of", lambda path: asked.append(path) or digest(path))
    for _ in range(3):
        whole(ImageFolder(root, cache=str(tmp_path / "cache"), **SIZES))
    assert asked == cached(tmp_path)


def test_a_cache_folder_that_cannot_be_written_ends_as_storage(tmp_path, monkeypatch):
    root, cache = pictures(tmp_path), tmp_path / "cache"
    (tmp_path / "taken").touch()
    with pytest.raises(StorageError, match=r"taken cannot be written: .* The folder is named by --data\.cache\."):
        ImageFolder(root, cache=str(tmp_path / "taken"), **SIZES).splits()
    cache.mkdir()
    opened = os.open

    def refusing(path, flags, *args, **kwargs):
        if flags & os.O_CREAT and str(path).startswith(str(cache)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *args, **kwargs)

    data = ImageFolder(root, cache=str(cache), **SIZES)
    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(StorageError) as caught:
        data.splits()
    assert "cannot be written: Read-only file system. Make it writable, or name another place." in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "open", opened)
    before = whole(ImageFolder(root, cache=str(cache), **SIZES))
    monkeypatch.setattr(os, "open", refusing)
    assert torch.equal(whole(ImageFolder(root, cache=str(cache), **SIZES)), before)


def test_a_cache_folder_that_cannot_be_looked_into_ends_as_storage(tmp_path, monkeypatch):
    data = ImageFolder(pictures(tmp_path), cache=str(tmp_path / "cache"), **SIZES)
    status = os.stat

    def refusing(path, **kwargs):
        if str(path).startswith(str(tmp_path / "cache")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return status(path, **kwargs)

    monkeypatch.setattr(os, "stat", refusing)
    with pytest.raises(StorageError, match=r"Permission denied\. .* The folder is named by --data\.cache\."):
        data.splits()


def test_nothing_but_the_cache_and_its_record_is_left_in_its_folder(tmp_path):
    root = pictures(tmp_path)
    whole(ImageFolder(root, cache=root, **SIZES))
    (file,) = [path for path in (tmp_path / "pictures").iterdir() if path.suffix == ".bin"]
    left = file.with_name(file.name.replace(".bin", "0.bin.part"))
    left.touch()
    whole(ImageFolder(root, cache=root, grey=True, **SIZES))
    assert sorted(path.suffix for path in (tmp_path / "pictures").iterdir()) == ["", "", ".bin", ".json"]


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
        ({"name": ["a"] * 60}, {}, r"column name \(text\) holds no numbers"),
        ({}, {"target": "sort"}, "has no column 'sort'. It has height, number, kind, vector"),
        ({}, {"target": "height", "target_type": "class"}, "labels must be whole numbers"),
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


def test_a_root_that_cannot_be_looked_into_is_named(tmp_path, monkeypatch):
    def refusing(path, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refusing)
    with pytest.raises(DataError, match=r"data\.root names .*secret, which cannot be read: Permission denied"):
        ImageFolder(str(tmp_path / "secret"))
