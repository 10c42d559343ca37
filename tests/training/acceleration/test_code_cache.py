"""The cache of compiled code: whole folders or none, whoever is killed or compiles at the same time."""

import os

import pytest

from aepretrain.training.acceleration.code_cache import PART, STALE_SECONDS, VARIABLE, code_folder


def write(folder, text="whole"):
    (folder / "code.so").write_text(text)


def test_a_folder_appears_when_its_code_is_whole(tmp_path):
    with code_folder(tmp_path, "step") as folder:
        write(folder)
        assert not (tmp_path / "step").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["step"]
    with code_folder(tmp_path, "step") as folder:
        assert (folder / "code.so").read_text() == "whole"


def test_a_compiler_that_fails_leaves_no_folder(tmp_path):
    def fails():
        with code_folder(tmp_path, "step") as folder:
            write(folder, "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list(tmp_path.iterdir())


def test_of_two_that_compile_at_once_the_first_counts(tmp_path):
    with code_folder(tmp_path, "step") as slow:
        with code_folder(tmp_path, "step") as fast:
            write(fast, "first")
        write(slow, "second")
    assert (tmp_path / "step" / "code.so").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("age", "stays"), [(0, True), (2 * STALE_SECONDS, False)])
def test_what_a_killed_process_left_is_removed_when_it_is_old(age, stays, tmp_path):
    part = tmp_path / f"{PART}x"
    part.mkdir()
    os.utime(part, (part.stat().st_mtime - age,) * 2)
    with code_folder(tmp_path, "step"):
        assert part.exists() is stays


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_torchs_variable_names_the_folder_within_the_block_alone(before, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    for _ in range(2):
        with code_folder(tmp_path, "step") as folder:
            assert os.environ[VARIABLE] == str(folder)
        assert os.environ.get(VARIABLE) == before


def test_what_is_added_to_a_whole_folder_never_lies_in_it_half(tmp_path):
    with code_folder(tmp_path, "step") as folder:
        write(folder)
    with code_folder(tmp_path, "step") as folder:
        (folder / "other.so").write_text("half")  # a kill here leaves no such file
        assert [path.name for path in (tmp_path / "step").iterdir()] == ["code.so"]
    assert [path.name for path in tmp_path.rglob("*.so")] == ["code.so"]


def test_a_folder_that_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "glob", lambda *_: [tmp_path / f"{PART}gone"])
    with code_folder(tmp_path, "step") as folder:
        write(folder)
    assert (tmp_path / "step" / "code.so").exists()
