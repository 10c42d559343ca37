"""The README is executed: its Python here, its two commands by .ci/run."""

import re
import subprocess
import sys
from pathlib import Path

from tests.cli.test_configs import CONFIGS

from .test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_of_the_first_screen_runs_and_classifies(tmp_path):
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.splitlines()[-1]) > 0.8
    assert not list(tmp_path.iterdir())


def test_the_two_commands_stand_on_the_first_screen():
    lines = README.splitlines()
    commands = [number for number, line in enumerate(lines) if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[1] < 40
    assert "aepretrain fit --config configs/digits.yaml" in lines[commands[0]]
    assert lines[commands[1]].endswith(".venv/bin/pytest")


def test_every_config_is_named_and_every_named_file_exists():
    for path in CONFIGS:
        assert f"`{path.name}`" in README
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_every_room_of_the_package_is_on_the_map():
    for name in FLOORS:
        room = name.removeprefix("aepretrain.")
        assert room in ("errors", "__main__") or f"`{room}" in README, room


def test_the_table_of_configs_says_what_the_configs_say():
    for path in CONFIGS:
        first = path.read_text().splitlines()[0].removeprefix("# ")
        assert f"| `{path.name}` | {first} |" in README
