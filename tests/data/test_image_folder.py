"""A folder of pictures as a data set: its notes, bad pictures, given splits, all aligned with the labels."""

import numpy as np
import pytest
import torch
from PIL import Image

from aepretrain import ConfigError, DataError, ImageFolder
from aepretrain.cli.main import main
from tests.support.warned import special_warnings

NUMBER = {"cat": 0, "dog": 100}


def draw(home, names, first):
    """Pictures of one grey level each, which numbers them."""
    home.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        Image.fromarray(np.full((4, 4), first + k, np.uint8)).save(home / name)


def pets(root, count=10, classes=("cat", "dog")):
    for name in classes:
        draw(root / name, [f"{k:02d}.png" for k in range(count)], NUMBER[name])
    return root


def source(tmp_path, root=None, **settings):
    return ImageFolder(str(root or tmp_path / "pets"), grey=True, cache=str(tmp_path / "cache"), **settings)


def levels(examples):
    return (examples.x[:, 0, 0, 0] * 255).round().int().tolist()


def pairs(*parts):
    """The number of each picture and its label."""
    return [pair for part in parts for pair in zip(levels(part), part.y.tolist(), strict=True)]


def test_the_notes_say_what_was_read_and_what_was_left_out(tmp_path):
    root = pets(tmp_path / "pets")
    draw(root / ".ipynb_checkpoints", ["a.png"], 0)
    for name in ("a.txt", "b.txt", "dog/c.TXT"):
        (root / name).touch()
    data = source(tmp_path)
    data.splits()
    read = "20 pictures in 2 classes (cat: 10, dog: 10) of shape (1, 4, 4)"
    assert data.notes == [
        f"{read}; left out: 3 files ending in .txt, 1 hidden folder.",
        "divided at random, stratified by class: 12 training, 4 validation, 4 test examples.",
    ]
    assert data.warnings == []


def test_the_preprocessing_names_size_and_colour(tmp_path):
    root = str(pets(tmp_path / "pets"))
    assert ImageFolder(root, grey=True).preprocessing == "one grey channel, values 0 to 255, divided by 255"
    assert ImageFolder(root, size=3).preprocessing == (
        "shorter side resized to 3 pixels, centre cropped; red, green and blue, values 0 to 255, divided by 255"
    )


def test_notes_are_the_same_when_the_cache_is_read_and_told_once(tmp_path):
    root = pets(tmp_path / "pets")
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(root / "cat" / "deep.png")
    (root / "cat" / "bad.png").touch()
    told = []
    for data in (source(tmp_path, on_bad="skip"), source(tmp_path, on_bad="skip")):
        data.load()
        data.load()
        told.append((data.notes, data.warnings))
    assert told[0] == told[1]
    assert "1 picture with 16 bits, up to 1,000: 0 to 65,535 became 0 to 255." in told[0][0]
    assert len(told[0][0]) == len(told[0][1]) == 2


def test_a_flat_folder_is_data_without_classes(tmp_path):
    draw(tmp_path / "pets", [f"{k}.png" for k in range(10)], 0)
    data = source(tmp_path)
    splits = data.splits()
    assert (data.num_classes, data.class_names, splits.train.y) == (None, None, None)
    assert sorted(levels(splits.train) + levels(splits.validation) + levels(splits.test)) == list(range(10))
    assert data.notes == [
        "10 pictures without classes of shape (1, 4, 4); left out: nothing.",
        "divided at random: 6 training, 2 validation, 2 test examples.",
    ]


def test_all_unreadable_pictures_are_listed_by_name_and_counted(tmp_path, capsys):
    root = pets(tmp_path / "pets")
    for k in range(12):
        (root / "cat" / f"bad{k:02d}.png").write_bytes(b"no picture")
    (root / "dog" / "dead.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"^13 of 33 pictures in .* and 3 more\. Mend or remove them") as caught:
        source(tmp_path).splits()
    assert all(f"bad{k:02d}.png cannot be decoded" in str(caught.value) for k in range(10))
    assert "bad10" not in str(caught.value)
    assert all_named(capsys.readouterr().out)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".bin"]
    source(tmp_path, on_bad="skip").splits()
    assert all_named(capsys.readouterr().out)


def all_named(told):
    names = [*(f"bad{k:02d}.png" for k in range(12)), "dead.png"]
    return all("".join(told.split()).count(f"{name}cannotbedecoded") == 1 for name in names)


def test_skipping_bad_pictures_keeps_pictures_and_labels_together(tmp_path):
    root = pets(tmp_path / "pets")
    expected = [(NUMBER[name] + k, label) for label, name in enumerate(NUMBER) for k in range(10) if k not in (0, 7)]
    for name in NUMBER:
        (root / name / "00.png").write_bytes(b"no picture")
        Image.fromarray(np.zeros((4, 4), np.float32)).save(root / name / "07.tif")
        (root / name / "07.png").unlink()
    for _ in ("decoded", "from the cache"):
        data = source(tmp_path, on_bad="skip")
        splits = data.splits()
        assert sorted(pairs(splits.train, splits.validation, splits.test)) == expected
        assert (
            "16 pictures in 2 classes (cat: 8, dog: 8) of shape (1, 4, 4); left out: 4 unreadable pictures."
            in data.notes
        )
        (warning,) = data.warnings
        assert warning.startswith("4 pictures left out as unreadable: ")
        for name in ("cat/00.png", "cat/07.tif", "dog/00.png", "dog/07.tif"):
            assert f"{name} cannot be decoded" in warning
    with pytest.raises(DataError, match="4 of 20 pictures"):
        source(tmp_path).splits()


def test_bad_pictures_that_empty_a_class_or_the_folder_are_refused(tmp_path):
    root = pets(tmp_path / "pets")
    for path in (root / "dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"pets: no picture of dog can be decoded\. Mend them, or remove"):
        source(tmp_path, on_bad="skip").splits()
    for path in (root / "cat").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="20 of 20 pictures"):
        source(tmp_path, on_bad="skip")


def test_what_was_done_to_unusual_pictures_is_told(tmp_path):
    root = pets(tmp_path / "pets")
    pages = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in range(3)]
    pages[0].save(root / "cat" / "pages.tif", save_all=True, append_images=pages[1:])
    Image.new("LA", (4, 4), (255, 128)).save(root / "dog" / "white.png")
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(root / "dog" / "deep.png")
    Image.fromarray(np.full((4, 4), 4, np.uint8)).save(root / "dog" / "exif.png", exif=b"Exif\0\0garbage!!")
    data = source(tmp_path)
    data.splits()
    assert "left out: 2 pages after the first of a file." in data.notes[0]
    paged, unturned, blank, dark = special_warnings(data)
    assert unturned.startswith("1 picture (dog/exif.png) with unreadable EXIF data: taken as they lie in the file.")
    assert paged.startswith("1 picture (cat/pages.tif) with several pages: only the first was taken, and 2 left out.")
    assert blank == "1 picture (dog/white.png) empty on a white background. Try --data.background black."
    assert dark.startswith("the pictures with 16 bits reach 4,095 of 65,535 at most and are dark here.")


def test_the_background_is_a_setting(tmp_path):
    draw(tmp_path / "pets", [f"{k}.png" for k in range(9)], 0)
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "pets" / "9.png")
    for background, level in (("white", 255), ("black", 0)):
        data = source(tmp_path, background=background)
        assert data.read()[0][:][9].unique().tolist() == [level / 255]


def test_given_splits_are_kept_and_named(tmp_path):
    for split, count in (("train", 10), ("val", 3), ("test", 4)):
        pets(tmp_path / "pets" / split, count)
    data = source(tmp_path)
    splits = data.splits()
    for part, count in ((splits.train, 10), (splits.validation, 3), (splits.test, 4)):
        assert pairs(part) == [(NUMBER[name] + k, label) for label, name in enumerate(NUMBER) for k in range(count)]
    assert data.class_names == ["cat", "dog"]
    assert data.notes[0].startswith("34 pictures in 2 classes (cat: 17, dog: 17)")
    assert data.notes[1] == (
        "divided as given by the folders train, val, test, the same for every seed: 20 training, 6 validation, 8 test "
        "examples."
    )
    assert data.own_splits
    with pytest.raises(ConfigError, match=r"data\.validation must be left out .* folders train, val, test, but is 3"):
        source(tmp_path, validation=3)


@pytest.mark.parametrize(("given", "missing"), [("test", "validation"), ("validation", "test")])
def test_a_split_without_a_folder_is_set_apart_from_train(given, missing, tmp_path):
    pets(tmp_path / "pets" / "train", 10)
    pets(tmp_path / "pets" / given, 4)
    data = source(tmp_path)
    splits = data.splits()
    apart = getattr(splits, missing)
    assert len(getattr(splits, given)) == 8
    assert apart.y.bincount().tolist() == [2, 2]
    assert sorted(pairs(splits.train, apart)) == [
        (NUMBER[name] + k, label) for label, name in enumerate(NUMBER) for k in range(10)
    ]
    sizes = {"training": 16, "validation": 8, "test": 8, missing: 4}
    assert data.notes[-1] == (
        f"divided as given by the folders train, {given}, and {missing} at random, stratified by class: "
        f"{', '.join(f'{count} {split}' for split, count in sizes.items())} examples."
    )
    assert not data.own_splits
    assert len(getattr(source(tmp_path, **{missing: 6}).splits(), missing)) == 6


def test_a_folder_train_alone_is_divided_in_three(tmp_path):
    pets(tmp_path / "pets" / "train", 10)
    data = source(tmp_path)
    splits = data.splits()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 4, 4)
    assert len(set(pairs(splits.train, splits.validation, splits.test))) == 20
    assert data.notes[1] == "divided at random, stratified by class: 12 training, 4 validation, 4 test examples."


def test_given_splits_stay_in_their_file_within_a_budget(tmp_path):
    for split, count in (("train", 40), ("test", 4)):
        pets(tmp_path / "pets" / split, count)
    loose, tight = (source(tmp_path, memory_budget=budget).splits() for budget in (None, "4kB"))
    assert not isinstance(tight.train.x, torch.Tensor)
    assert torch.equal(tight.train.x[:], loose.train.x)
    assert torch.equal(tight.train.y, loose.train.y)


def test_settings_that_do_not_exist_are_refused(tmp_path):
    pets(tmp_path / "pets")
    with pytest.raises(ConfigError, match=r"data\.background must be white or black, but is 'grey'"):
        source(tmp_path, background="grey")
    with pytest.raises(ConfigError, match=r"data\.on_bad must be stop or skip, but is 'leave'"):
        source(tmp_path, on_bad="leave")


def test_the_command_names_the_bad_picture_and_ends_as_bad_data(tmp_path, capsys):
    (pets(tmp_path / "pets") / "cat" / "bad.png").touch()
    (tmp_path / "config.yaml").write_text(
        "layers: [{class_path: PlainAutoencoder, init_args: {coder: {class_path: Dense, init_args: {features: 2}}}}]\n"
        f"data: {{class_path: ImageFolder, init_args: {{root: {tmp_path / 'pets'}, cache: {tmp_path / 'cache'}}}}}\n"
    )
    assert main(["validate", "--config", str(tmp_path / "config.yaml")]) == 3
    assert "cat/bad.png cannot be decoded" in capsys.readouterr().err
    assert main(["validate", "--config", str(tmp_path / "config.yaml"), "--data.on_bad", "skip"]) == 0
    said = capsys.readouterr().out
    assert (
        "data: 20 pictures in 2 classes (cat: 10, dog: 10) of shape (3, 4, 4); left out: 1 unreadable picture." in said
    )
    assert "warning: 1 picture left out as unreadable" in said


def test_pictures_that_are_no_squares_lose_their_sides_and_are_counted(tmp_path):
    root = pets(tmp_path / "pets")
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    for name in ("wide", "wider"):
        Image.fromarray(wide).save(root / "cat" / f"{name}.png")
    data = source(tmp_path, size=4)
    data.splits()
    assert "2 pictures of other shapes than a square: the sides beyond the centre were cut off." in data.notes
    whole = source(tmp_path, pets(tmp_path / "others"), size=4)
    whole.splits()
    assert not any("square" in note for note in whole.notes)
