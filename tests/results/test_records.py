"""Records survive their files, and a value that does not fit is named by its key."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepretrain import StorageError
from aepretrain.results.records import absent, from_plain, read_record, to_plain, write_record
from aepretrain.storage.json_files import finite


@dataclass(frozen=True)
class Inner:
    x: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    count: int
    name: str
    sure: bool
    first: Inner
    others: list[Inner]
    by_name: Mapping[str, float | None]
    ends: tuple[float, float]
    labels: int | Literal["all"]
    maybe: Inner | None
    anything: Any
    late: int = 7
    rare: tuple[str, ...] | None = absent()


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**63), 2**63 - 1)
INNER = st.builds(Inner, FLOATS, st.lists(WHOLE).map(tuple))
OUTER = st.builds(
    Outer,
    count=WHOLE,
    name=st.text(),
    sure=st.booleans(),
    first=INNER,
    others=st.lists(INNER, max_size=3),
    by_name=st.dictionaries(st.text(), st.none() | FLOATS, max_size=3),
    ends=st.tuples(FLOATS, FLOATS),
    labels=st.just("all") | WHOLE,
    maybe=st.none() | INNER,
    anything=st.none() | st.booleans() | WHOLE | st.lists(st.text(), max_size=2),
    late=WHOLE,
    rare=st.none() | st.lists(st.text(), max_size=2).map(tuple),
)
ONE = Outer(1, "a", True, Inner(0.5, (1, 2)), [Inner(1.5, ())], {"b": None}, (0.0, 1.0), "all", None, {"c": 3})


@given(OUTER)
def test_what_is_made_plain_and_read_back_is_equal(record):
    assert from_plain(Outer, json.loads(json.dumps(to_plain(record), allow_nan=False))) == record


@given(OUTER)
def test_only_an_absent_field_that_is_none_has_no_key(record):
    keys = set(Outer.__dataclass_fields__) - ({"rare"} if record.rare is None else set())
    assert set(to_plain(record)) == keys


def test_nan_is_null_in_a_file_and_nan_again_where_a_number_must_be():
    values = finite(to_plain(Inner(math.nan, ())))
    assert values == {"x": None, "shape": []}
    assert math.isnan(from_plain(Inner, values).x)
    found = from_plain(Outer, to_plain(ONE) | {"by_name": {"b": None}, "ends": [None, None]})
    assert found.by_name == {"b": None}
    assert all(map(math.isnan, found.ends))


def test_a_default_stands_in_for_a_missing_key_and_an_unknown_key_is_left_out():
    values = to_plain(ONE)
    del values["late"]
    assert from_plain(Outer, {**values, "of a later version": 1}) == ONE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 1.5}, "count must be a whole number, but is 1.5"),
        ({"count": True}, "count must be a whole number, but is True"),
        ({"sure": 1}, "sure must be true or false, but is 1"),
        ({"name": None}, "name must be text, but is None"),
        ({"first": 3}, "first must be a group of keys, but is 3"),
        ({"first": {"x": 1.0}}, "first.shape is missing"),
        ({"others": [{"x": 1, "shape": []}, {"x": "low", "shape": []}]}, r"others\[1\].x must be a number"),
        ({"others": {}}, "others must be a list"),
        ({"by_name": {"b": "c"}}, "by_name.b must be a number"),
        ({"by_name": {"val/b": "c"}}, "by_name.val/b must be a number"),
        ({"by_name": {"\n\x1b": "c"}}, r"by_name\.'\\n\\x1b' must be a number"),
        ({"by_name": {"b" * 99: "c"}}, r"by_name\.'b{39}\.\.\. must be a number"),
        ({"by_name": []}, "by_name must be a group of keys"),
        ({"ends": [1.0]}, "ends must be a list of 2"),
        ({"labels": "some"}, "labels must be 'all', but is 'some'"),
        ({"maybe": {"x": 1.0, "shape": ["a"]}}, r"maybe.shape\[0\] must be a whole number"),
        ({"name": ["long"] * 100}, r"but is \['long', 'long'.{0,40}\.\.\.$"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_key(change, words):
    with pytest.raises(ValueError, match=words):
        from_plain(Outer, {**to_plain(ONE), **change})


def test_a_file_is_read_back_and_one_that_is_no_record_is_a_line_that_names_it(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, ONE)
    assert read_record(Outer, path) == ONE
    for content in ("{", "[]", '{"count": 1}'):
        path.write_text(content)
        with pytest.raises(StorageError, match=r"record\.json cannot be read") as raised:
            read_record(Outer, path)
        assert "\n" not in str(raised.value)
