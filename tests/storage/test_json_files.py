import pytest

from aepretrain import StorageError
from aepretrain.storage.json_files import finite, read_json, write_json


def test_what_json_does_not_have_becomes_none():
    assert finite({"a": [1, float("inf"), {"b": float("nan")}], "c": "nan"}) == {
        "a": [1, None, {"b": None}],
        "c": "nan",
    }


def test_what_was_written_is_read_back_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "row.json"
    write_json(path, {"a": (1, float("nan"))})
    assert read_json(path) == {"a": [1, None]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["row.json"]


def test_a_missing_or_damaged_file_is_a_storage_error_that_names_it(tmp_path):
    (tmp_path / "row.json").write_text("{")
    for name in ("row.json", "none.json"):
        with pytest.raises(StorageError, match=name):
            read_json(tmp_path / name)
