"""The READMEs are executed and their links followed; the two commands of the first one are run by .ci/run."""

import re
from pathlib import Path

import pytest

from tests.cli.test_configs import CONFIGS
from tests.support.programs import run_program

from .test_architecture import FLOORS, PACKAGE

ROOT = Path(__file__).parents[1]
FOLDERS = ("aepretrain", "configs", "notebooks", "tests")
READMES = [ROOT / "README.md", *sorted(path for name in FOLDERS for path in (ROOT / name).rglob("README.md"))]
READMES.append(PACKAGE / "EXTENDING.md")
README = READMES[0].read_text()


def name_of(path):
    return str(path.relative_to(ROOT))


def test_the_root_readme_is_short():
    assert len(README.encode()) <= 7000


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_the_python_of_a_readme_runs_and_finds_the_same_again(path, tmp_path):
    for program in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        found = set()
        for _ in range(2):
            answer = run_program(program, cwd=tmp_path)
            assert answer.returncode == 0, answer.stderr
            found.add(answer.stdout.splitlines()[-1])
        assert len(found) == 1
        assert float(found.pop()) > 0.8
    assert not list(tmp_path.iterdir())


def test_the_first_readme_has_a_program():
    assert "```python\n" in README


def test_the_two_commands_stand_on_the_first_screen():
    lines = README.splitlines()
    commands = [number for number, line in enumerate(lines) if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[1] < 40
    assert "aepretrain fit --config configs/digits.yaml" in lines[commands[0]]
    assert lines[commands[1]].endswith(".venv/bin/pytest")


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_every_file_that_a_readme_names_exists(path):
    for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / name).exists(), name


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_every_test_that_a_readme_names_exists(path):
    for name, place in re.findall(r"\[`(?:…|test_)(\w+?)_?…`\]\(([^)]+)\)", path.read_text()):
        assert f"def test_{name}" in (path.parent / place).read_text() or name in (path.parent / place).read_text(), (
            name
        )


def test_every_folder_of_the_package_is_on_the_map_and_has_a_readme():
    package_map = (PACKAGE / "README.md").read_text()
    places = [package_map.index(f"`{name}") for name in FLOORS if name != "__main__"]
    assert places == sorted(places)
    for name in FLOORS:
        assert not (PACKAGE / name).is_dir() or (PACKAGE / name / "README.md").is_file(), name


def test_the_table_of_configs_says_what_the_configs_say():
    table = (ROOT / "configs" / "README.md").read_text()
    for path in CONFIGS:
        first = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"| `{path.name}` | {first} |" in table
