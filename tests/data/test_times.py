"""Training rows lie before validation rows, and these before test rows; equal times stay together."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain import Arrays, ConfigError, DataError
from aepretrain.data.division import Division
from aepretrain.data.origin import Origin
from aepretrain.data.times import rank_times, take_last

ORIGIN = Origin("times")
X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
DAY = datetime(2026, 1, 1)


@given(
    times=st.lists(st.integers(0, 15), min_size=6, max_size=60).filter(lambda times: len(set(times)) > 2),
    test=st.integers(1, 20),
    validation=st.integers(1, 20),
    seed=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_no_row_is_trained_on_that_is_as_late_as_one_held_out(times, test, validation, seed):
    least = sum(time <= sorted(set(times))[1] for time in times)  # so many rows are left when test rows are taken
    test, validation = min(test, len(times) - 1), 1 + validation % (least - 1)
    division = Division.of(len(times), order="time", times=times)
    parts = division.rows(len(times), None, validation, test, seed)
    train, held_out, tested = ([times[row] for row in rows] for rows in parts)
    assert sorted(train + held_out + tested) == sorted(times)
    assert max(train) < min(held_out)
    assert max(held_out) < min(tested)


@given(times=st.lists(st.integers(0, 9), min_size=4, max_size=40), number=st.integers(1, 40), leave=st.integers(1, 2))
@settings(max_examples=100, deadline=None)
def test_the_border_is_the_nearest_that_parts_no_equal_times(times, number, leave):
    distinct = sorted(set(times))
    if len(distinct) <= leave:
        return
    found = int(take_last(np.array(times), number, leave=leave).sum())
    possible = [sum(time >= border for time in times) for border in distinct[leave:]]
    assert found in possible
    assert abs(found - number) == min(abs(size - number) for size in possible)


def test_rows_in_order_are_cut_where_random_division_has_its_sizes():
    splits, at_random = Arrays(X, order="time").splits(), Arrays(X).splits()
    for name, begin, end in (("train", 0, 36), ("validation", 36, 48), ("test", 48, 60)):
        assert np.array_equal(getattr(splits, name).x, X[begin:end])
        assert len(getattr(at_random, name)) == end - begin


@pytest.mark.parametrize(
    "make",
    [
        lambda k: k / 7,
        lambda k: 2**60 + k,
        lambda k: str(k),
        lambda k: str(k).encode(),
        lambda k: f"{k / 7:.3f}",
        lambda k: DAY + timedelta(hours=k),
        lambda k: (DAY + timedelta(days=k)).date(),
        lambda k: (DAY + timedelta(microseconds=k)).isoformat(),
        lambda k: (DAY + timedelta(days=k)).date().isoformat(),
        lambda k: (DAY + timedelta(hours=k)).replace(tzinfo=UTC).isoformat(),
        lambda k: np.datetime64(DAY, "ns") + np.timedelta64(k, "ns"),
        lambda k: np.timedelta64(k, "s"),
    ],
)
def test_numbers_dates_and_their_text_are_times(make):
    order = np.random.default_rng(1).permutation(60) // 2
    assert rank_times([make(int(k)) for k in order], 60, ORIGIN).tolist() == order.tolist()


def test_time_zones_are_regarded():
    assert rank_times(["2026-01-01T12:00:00+02:00", "2026-01-01T11:00:00Z"], 2, ORIGIN).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2026-01-01"] * 59 + ["soon"], "times must be all numbers, or all dates such as .* row 59 .* holds 'soon'"),
        (["2026-01-01"] * 59 + ["7"], "row 59 .* holds '7'. Write all of them alike"),
        (["2026-01-01T00:00:00", "2026-01-01T00:00:00Z"] * 30, "times must all have a time zone, or none of them"),
        ([1.0, np.inf] * 30, "times must be finite, but 30 of 60 are not, the first in row 1 "),
        (["1", "nan"] * 30, "times must be finite, but 30 of 60 are not, the first in row 1 "),
        (["1", ""] * 30, "times must not be missing, but 30 of 60 are, the first in row 1 "),
        (np.array(["NaT"] * 60, "M8[s]"), "times must not be missing, but 60 of 60 are"),
        (np.ones(60, complex), "times must be numbers or dates, but are complex128"),
        ([1, 2] * 30, "rows of 2 different times cannot be divided into 3 splits"),
        (np.arange(30), "60 examples need as many times, but there are 30. Give one time per row"),
    ],
)
def test_times_that_cannot_order_are_refused_in_one_line(times, message):
    with pytest.raises(DataError, match=message) as caught:
        Arrays(X, order="time", times=times).source()
    assert "\n" not in str(caught.value)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match=r"data\.times is used by data\.order time alone"):
        Arrays(X, times=np.arange(60))
    with pytest.raises(ConfigError, match=r"data\.order must be random or time, but is 'row'"):
        Arrays(X, order="row")
    with pytest.raises(ConfigError, match=r"data\.order time and data\.splits both divide the data"):
        Arrays(X, order="time", splits=["train", "val", "test"] * 20)


@pytest.mark.parametrize("how", [{"order": "time"}, {"groups": np.arange(60) // 5}])
def test_sizes_that_leave_nothing_to_train_on_are_refused(how):
    for sizes in ((40, 20), (10, 60)):
        with pytest.raises(DataError, match=r"examples cannot be set apart, as none would be left to train on\. Lower"):
            Division.of(60, **how).rows(60, None, *sizes)


def test_no_seed_changes_a_division_by_time_and_the_note_says_so():
    data = Arrays(X, order="time")
    assert data.own_splits
    assert data.with_split(3) is data
    data.source()
    assert data.notes[-1] == (
        "divided by time, the earliest rows for training, the same for every seed: 36 training, 12 validation, 12 "
        "test examples."
    )
    assert np.array_equal(Arrays(X, order="time", split_seed=5).splits().test.x, data.splits().test.x)


def test_whole_groups_stand_in_the_order_of_their_first_times():
    groups = np.arange(60) // 6
    data = Arrays(X, order="time", groups=groups, times=60 - np.arange(60))
    splits = data.splits()
    assert np.array_equal(splits.train.x, X[24:])
    assert np.array_equal(splits.validation.x, X[12:24])
    assert not [warning for warning in data.warnings if "in time" in warning]


def test_training_rows_that_are_as_late_as_held_out_ones_are_counted():
    late = Arrays(X, order="time", groups=np.r_[np.arange(59) // 6, 0])
    late.source()
    assert sum("1 of 37 training examples are not before the first held-out example" in each for each in late.warnings)


def test_dates_need_no_time_of_day():
    assert rank_times([date(2026, 2, 1), date(2026, 1, 1)], 2, ORIGIN).tolist() == [1, 0]
