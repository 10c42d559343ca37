"""Overlapping windows and rows that are like the next one are named, and no others; divided otherwise, nothing is."""

import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from aepretrain import Arrays, ImageFolder, MappedArray, OneHotPatterns
from aepretrain.data.neighbours import PAIRS, alike_neighbours, overlap_at_borders
from tests.data.test_image_folder import draw

RANDOM = np.random.default_rng(0)
WALK = RANDOM.normal(size=(600, 5)).cumsum(axis=0)
SUBJECTS = np.arange(60).repeat(10)
REPEATED = RANDOM.normal(size=(60, 8))[SUBJECTS] + 0.3 * RANDOM.normal(size=(600, 8))
NOISE = RANDOM.normal(size=4000)
OVERLAP = "rows are overlapping windows: 16 of 16 sampled rows hold {} of the {} values of the row after them"


def windows(stride, length=40, channels=1):
    series = RANDOM.normal(size=(channels, 1200))
    found = np.lib.stride_tricks.sliding_window_view(series, length, axis=1)[:, ::stride].swapaxes(0, 1)
    return found if channels > 1 else found[:, 0]


def said(x, y=None, **how):
    data = Arrays(x, y, **how)
    data.source()
    return [each for each in data.warnings if "random division" in each]


LIKE = {
    "a walk": (WALK, None),
    "a walk in classes": (WALK, np.arange(600) // 150),
    "repeated subjects": (REPEATED, SUBJECTS % 3),
    "features of unequal scale": (WALK * [1e6, 1, 1, 1, 1] + RANDOM.normal(size=(600, 5)) * [1e9, 0, 0, 0, 0], None),
}


@pytest.mark.parametrize("name", LIKE)
def test_rows_like_the_next_one_are_named_with_the_figure_and_the_way_out(name):
    x, y = LIKE[name]
    (warning,) = said(x, y)
    assert warning.startswith("rows next to one another are alike: ")
    which = "random rows of their class" if y is not None else "random rows"
    assert f"nearer to the next row than to 20 {which} (5% by chance)" in warning
    assert "set data.order time or data.groups." in warning


def test_the_figure_is_the_share_of_sampled_rows():
    x = np.repeat(np.arange(300.0), 2)[:, None] * 100  # a row is equal to the next, or far from it
    x += RANDOM.normal(size=x.shape)
    generator = np.random.default_rng(1)
    x = x.reshape(300, 2)[generator.permutation(300)].reshape(600, 1)
    (warning,) = said(x)
    share = float(warning.split(": ")[1].split("%")[0])
    near, pairs = np.abs(np.diff(x[:, 0])), RANDOM.choice(x[:, 0], (599, 20))
    assert share == pytest.approx(100 * (near < np.abs(x[:-1] - pairs).min(axis=1)).mean(), abs=5)


@pytest.mark.parametrize("stride", [1, 10, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_that_overlap_are_named_however_the_series_is(stride, channels):
    (warning,) = said(windows(stride, channels=channels))
    assert warning.startswith(OVERLAP.format(40 - stride, 40))


def test_windows_with_time_first_are_named_too():
    (warning,) = said(windows(10, channels=3).swapaxes(1, 2))
    assert warning.startswith(OVERLAP.format(30, 40))


def in_classes(y):
    """Rows of classes that are far from one another."""
    return RANDOM.normal(size=(len(y), 4)) + 9 * y[:, None], y


SILENT = {
    "windows side by side": (windows(24, length=24), None),
    "shuffled windows": (RANDOM.permutation(windows(5)), None),
    "a shuffled walk": (RANDOM.permutation(WALK), None),
    "shuffled subjects": (REPEATED[RANDOM.permutation(600)], None),
    "noise": (RANDOM.normal(size=(500, 4)), None),
    "one feature": (RANDOM.normal(size=(500, 1)), None),
    "constant rows": (np.ones((500, 4)), None),
    "few values": (RANDOM.integers(0, 2, (500, 6)), None),
    "one-hot patterns": (np.eye(200), None),
    "one-hot patterns from the end": (np.eye(200)[::-1].copy(), None),
    "classes in turn": in_classes(np.arange(500) % 5),
    "data sorted by class": in_classes(np.arange(500) // 100),
    "many classes": in_classes(np.arange(900) // 10),
    "few rows": (WALK[:30], None),
}


@pytest.mark.parametrize("name", SILENT)
def test_nothing_is_said_of_rows_in_any_other_order(name):
    x, y = SILENT[name]
    assert said(x, y) == []


@pytest.mark.parametrize("load", [load_digits, load_iris, load_wine, load_breast_cancer])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_nothing_is_said_of_known_data(load, is_sorted):
    x, y = load(return_X_y=True)
    rows = np.argsort(y, kind="stable") if is_sorted else np.arange(len(y))
    assert said(x[rows], y[rows]) == []
    assert said(x, None) == []


def test_nothing_is_said_of_patterns_that_are_their_own_test():
    data = OneHotPatterns(100)
    data.source()
    assert data.warnings == []


@pytest.mark.parametrize(
    "how",
    [{"groups": SUBJECTS}, {"order": "time"}, {"splits": np.array(["train", "val", "test"])[np.arange(600) // 200]}],
)
def test_nothing_is_said_where_rows_are_not_divided_at_random(how):
    assert said(WALK, **how) == []
    assert len(said(WALK)) == 1


@pytest.mark.parametrize(
    ("stride", "last"), [(10, "last 3 rows of a split share"), (20, "last row of a split shares"), (12, "last 3 rows")]
)
@pytest.mark.parametrize("in_file", [False, True])
def test_windows_that_overlap_at_borders_of_time_are_named(stride, last, in_file, tmp_path):
    x = windows(stride)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    data = MappedArray(tmp_path / "x.npy", order="time") if in_file else Arrays(x, order="time")
    data.source()
    (warning,) = [each for each in data.warnings if "borders" in each]
    assert warning.startswith(f"{OVERLAP.format(40 - stride, 40)}; at the borders of data.order time, the {last}")
    train, *later = (data.splits().train.x[:], data.splits().validation.x[:])
    shared = [bool(set(row.tolist()) & set(later[0][0].tolist())) for row in train]
    assert sum(shared) == int(last.split()[1]) if last.split()[1].isdigit() else 1


def test_windows_of_whole_groups_or_side_by_side_do_not_overlap_at_borders():
    x = windows(10)
    for data in (Arrays(x, order="time", groups=np.arange(len(x)) // 29), Arrays(windows(40), order="time")):
        data.source()
        assert not [each for each in data.warnings if "borders" in each]


def test_rows_in_a_file_and_wide_rows_are_looked_at_in_part(tmp_path):
    x = np.repeat(WALK.astype(np.float32), 800, axis=1)
    np.save(tmp_path / "x.npy", x)
    data = MappedArray(str(tmp_path / "x.npy"), memory_budget="2MB", validation=20, test=20)
    data.source()
    assert [each for each in data.warnings if "random division" in each] == said(x)


def test_frames_in_a_folder_are_named(tmp_path):
    for name, first in (("cat", 0), ("dog", 100)):
        draw(tmp_path / "frames" / name, [f"{k:03d}.png" for k in range(100)], first)
    data = ImageFolder(str(tmp_path / "frames"), grey=True, cache=str(tmp_path / "cache"))
    data.source()
    assert sum("rows next to one another are alike" in each for each in data.warnings) == 1


def test_no_more_rows_are_compared_than_said():
    (warning,) = said(np.random.default_rng(0).normal(size=(5000, 5)).cumsum(axis=0))
    assert f"of {PAIRS} sampled rows" in warning
    assert alike_neighbours(Arrays(WALK[:2]).x, None) == []


def test_wide_rows_of_zeros_are_looked_through_at_once():
    x = torch.zeros(100, 100_000)
    x.scatter_(1, torch.randint(100_000, (100, 20)), 1.0)
    begin = time.monotonic()
    assert overlap_at_borders(x) == []
    assert time.monotonic() - begin < 20  # minutes, if every shift is compared whole
