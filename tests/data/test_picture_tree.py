"""Which pictures below a folder are read, in which class and split, and that what is left out is counted."""

import os
import re

import pytest
import torchvision.datasets
from PIL import Image

from aepretrain import DataError
from aepretrain.data.picture_tree import read_tree


def lay(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(tree, root):
    return [str(path.relative_to(root)) for path in tree.paths]


def test_pictures_are_those_of_torchvision_in_its_order(tmp_path):
    root = lay(tmp_path, "b/2.png", "b/10.png", "b/x/y/1.png", "b/x/1.jpg", "b/x-1/1.bmp", "a/z.tiff", "a/B/1.png")
    known = torchvision.datasets.ImageFolder(str(root))
    tree = read_tree(root)
    assert [(str(path), label) for path, label in zip(tree.paths, tree.labels, strict=True)] == known.samples
    assert tree.classes == known.classes
    assert (tree.splits, tree.left_out, tree.notes, tree.warnings) == (None, [], [], [])


def test_endings_of_pictures_count_in_any_case_and_other_files_are_counted(tmp_path):
    pictures = ["a/1.GIF", "a/2.jfif", "a/3.JPEG", "a/4.Webp", "b/5.TIF", "b/6.jp2", "b/7.avif", "b/8.pbm"]
    others = ["a/notes.txt", "b/more.TXT", "labels.csv", "b/README", "a/vector.eps"]
    tree = read_tree(lay(tmp_path, *pictures, *others))
    assert found(tree, tmp_path) == pictures
    assert tree.left_out == [
        "2 files ending in .txt", "1 file ending in .csv", "1 file ending in .eps", "1 file without an ending",
    ]  # fmt: skip


def test_hidden_files_and_folders_are_no_classes_and_are_counted(tmp_path):
    names = ["a/1.png", "b/1.png", ".ipynb_checkpoints/1.png", "a/.ipynb_checkpoints/2.png", "__MACOSX/a/._1.png"]
    tree = read_tree(lay(tmp_path, *names, "b/.DS_Store", "a/._1.png"))
    assert found(tree, tmp_path) == ["a/1.png", "b/1.png"]
    assert tree.classes == ["a", "b"]
    assert tree.left_out == ["3 hidden folders", "2 hidden files"]


@pytest.mark.parametrize(
    "named", [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "validation", "testing")]
)
def test_folders_for_training_validation_and_test_are_the_splits(named, tmp_path):
    names = [f"{split}/{kind}/1.png" for split in named for kind in ("cat", "dog")]
    tree = read_tree(lay(tmp_path, *names, "labels.csv", ".git/config"))
    assert found(tree, tmp_path) == names
    assert tree.classes == ["cat", "dog"]
    assert tree.labels == [0, 1] * 3
    assert tree.splits == ["train", "train", "validation", "validation", "test", "test"]
    assert {split: folder.name for split, folder in tree.folders.items()} == dict(
        zip(("train", "validation", "test"), named, strict=True)
    )


def test_splits_may_be_without_classes(tmp_path):
    tree = read_tree(lay(tmp_path, "train/1.png", "train/2.png", "test/1.png"))
    assert tree.classes is None
    assert tree.splits == ["train", "train", "test"]


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    tree = read_tree(lay(tmp_path, "train/1.png", "car/1.png", "bus/1.png"))
    assert (tree.classes, tree.splits, tree.warnings) == (["bus", "car", "train"], None, [])
    tree = read_tree(lay(tmp_path, "test/1.png"))
    assert tree.classes == ["bus", "car", "test", "train"]
    assert "test, train are taken as classes, not as splits, as bus, car lie beside them" in tree.warnings[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], r"test has no pictures of dog. Every split"),
        (["train/cat/1.png", "test/cat/1.png", "test/dog/1.png"], r"train has no pictures of dog. Every split"),
        (["train/cat/1.png", "train/dog/1.png", "test/1.png"], r"test has its pictures in no class folders, thus"),
        (["train/cat/1.png", "val/cat/1.png", "valid/cat/1.png"], r"train, val, valid name a split twice"),
        (["val/cat/1.png", "test/cat/1.png"], r"has the folders test, val, but none with the name train"),
        (["train/cat/1.png", "test/readme.txt"], r"test holds no sub-folders with pictures, and no pictures itself"),
        (["cat/1.png", "dog/1.txt"], r"at least 2 class folders, but only cat has some, and dog none"),
        (
            ["notes.txt"],
            r"no pictures itself \(1 file ending in \.txt lie there\). Put pictures there, which end in .*\.png",
        ),
    ],
)
def test_folders_that_cannot_be_meant_are_refused_by_name(names, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read_tree(lay(tmp_path, *names))
    assert "\n" not in str(caught.value)


def test_an_empty_class_folder_is_no_class_and_is_told(tmp_path):
    (tmp_path / "cow").mkdir()
    tree = read_tree(lay(tmp_path, "cat/1.png", "dog/1.png", "emu/1.txt"))
    assert tree.classes == ["cat", "dog"]
    assert [re.search(r"class folder .*/(\w+) holds no pictures", line)[1] for line in tree.warnings] == ["cow", "emu"]


def test_a_flat_folder_has_no_classes(tmp_path):
    tree = read_tree(lay(tmp_path, "2.png", "1.png", "1.txt"))
    assert found(tree, tmp_path) == ["1.png", "2.png"]
    assert (tree.classes, tree.labels) == (None, [0, 0])


def test_pictures_beside_class_folders_and_folders_in_a_single_one_are_told(tmp_path):
    tree = read_tree(lay(tmp_path / "beside", "a/1.png", "b/1.png", "3.png"))
    assert len(tree.paths) == 2
    assert tree.left_out == ["1 picture beside the class folders of beside"]
    assert "1 picture beside the class folders of beside left out (3.png)." in tree.warnings[0]
    tree = read_tree(lay(tmp_path / "wrapped", "all/cat/1.png", "all/dog/1.png"))
    assert tree.classes is None
    assert re.search("the only sub-folder .*all holds folders of its own, cat, dog, which are not", tree.warnings[0])


def test_links_are_followed_once_and_pipes_are_left_out(tmp_path):
    lay(tmp_path / "store", "1.png", "more/2.png")
    root = lay(tmp_path / "root", "cat/1.png", "dog/1.png")
    (root / "cat" / "linked.png").symlink_to(tmp_path / "store" / "1.png")
    (root / "cat" / "more").symlink_to(tmp_path / "store" / "more")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "dog").symlink_to(root / "dog")
    (root / "dog" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    (root / "dog" / "round.png").symlink_to(root / "dog" / "round.png")
    os.mkfifo(root / "dog" / "pipe.png")
    tree = read_tree(root)
    in_cat = ["cat/1.png", "cat/linked.png", "cat/more/2.png"]
    assert found(tree, root) == [*in_cat, "dog/1.png", "dog/dead.png", "dog/round.png"]
    assert tree.left_out == [
        "2 folders linked to another one of these or to one above",
        "1 file of no regular kind (pipe, socket or device)",
    ]
    assert tree.notes == [f"2 links lead out of {root}, and were followed."]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root, scandir = lay(tmp_path, "cat/1.png", "dog/1.png"), os.scandir

    def refusing(folder):
        if str(folder).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"dog cannot be read: Permission denied\. Make it readable, or move it away"):
        read_tree(root)


def test_a_file_is_no_folder_of_pictures(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"data\.root names .*a\.png, which is a file"):
        read_tree(tmp_path / "a.png")
