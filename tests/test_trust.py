"""A config puts known parts together; it cannot make Python import anything else."""

import subprocess
import sys

import pytest
import yaml

LAYER = {
    "class_path": "PlainAutoencoder",
    "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 4}}},
}
SPY = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
from aepretrain import PlainAutoencoder
from aepretrain.parts.coders import Coder
class Layer(PlainAutoencoder): pass
"""


def validate(tmp_path, config, *words):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "aepretrain", "validate", "--config", str(path), *words]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


@pytest.mark.parametrize("place", ["layers", "coder", "optimizer", "data", "grid"])
def test_a_config_cannot_import_what_is_not_on_the_list(tmp_path, place):
    (tmp_path / "spy.py").write_text(SPY)
    spec = {"class_path": "spy.Layer", "init_args": {}}
    config = {"layers": [LAYER]}
    if place == "layers":
        config["layers"] = [{**LAYER, "class_path": "spy.Layer"}]
    elif place in ("coder", "optimizer"):
        config["layers"] = [{"class_path": "PlainAutoencoder", "init_args": {**LAYER["init_args"], place: spec}}]
    elif place == "data":
        config["data"] = spec
    else:
        config["compare"] = {"grid": {"finetune.epochs": [spec]}}
    answer = validate(tmp_path, config)
    assert not (tmp_path / "imported").exists()
    if place != "grid":  # only compare looks into the grid
        assert answer.returncode == 2, answer.stderr
        assert "spy.Layer" in answer.stderr
        assert "--trust-module spy" in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    ["os.system", "subprocess.Popen", "aepretrain.run_directory.os.system", "builtins.eval", "aepretrain.cli.main"],
)
def test_a_config_cannot_call_what_the_package_itself_imports(tmp_path, path):
    answer = validate(tmp_path, {"layers": [{"class_path": path, "init_args": {"command": "touch hacked"}}]})
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "hacked").exists()


def test_the_command_line_alone_extends_the_list(tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    config = {"layers": [{**LAYER, "class_path": "spy.Layer"}]}
    assert validate(tmp_path, {**config, "trust_module": "spy"}).returncode == 2
    assert not (tmp_path / "imported").exists()
    answer = validate(tmp_path, config, "--trust-module", "spy")
    assert answer.returncode == 0, answer.stderr
    assert "00-" in answer.stdout


def test_a_name_that_is_no_package_is_refused(tmp_path):
    for words in (["--trust-module", "../spy"], ["--trust-module"]):
        answer = validate(tmp_path, {"layers": [LAYER]}, *words)
        assert answer.returncode == 2
        assert "--trust-module takes the name of a package" in answer.stderr
