"""A config puts known parts together; it cannot make Python import anything else."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
import yaml

from tests.cli.test_stopping import PROGRAMS
from tests.support.runs import ROOT

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


@pytest.fixture
def validate(runner, tmp_path):
    """Runs ``aepretrain validate`` on a config, in the test's own folder, from which Python may import."""

    def run(config, *words):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return runner.run("validate", "--config", path, *words, folder=str(tmp_path))

    return run


@pytest.mark.parametrize("place", ["layers", "coder", "optimizer", "data", "grid"])
def test_a_config_cannot_import_what_is_not_on_the_list(place, validate, tmp_path):
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
    code, said = validate(config)
    assert not (tmp_path / "imported").exists()
    if place != "grid":  # only compare looks into the grid
        assert code == 2, said
        assert "spy.Layer" in said
        assert "--trust-module spy" in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "aepretrain.runs.directory.os.system",
        "builtins.eval",
        "aepretrain.cli.main.main",
    ],
)
def test_a_config_cannot_call_what_the_package_itself_imports(path, validate, tmp_path):
    code, said = validate({"layers": [{"class_path": path, "init_args": {"command": "touch hacked"}}]})
    assert code == 2
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "hacked").exists()


def test_the_command_line_alone_extends_the_list(validate, tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    config = {"layers": [{**LAYER, "class_path": "spy.Layer"}]}
    assert validate({**config, "trust_module": "spy"})[0] == 2
    assert not (tmp_path / "imported").exists()
    code, said = validate(config, "--trust-module", "spy")
    assert code == 0, said
    assert (tmp_path / "imported").exists()
    assert "00-" in said


def test_a_name_that_is_no_package_is_refused(validate):
    for words in (["--trust-module", "../spy"], ["--trust-module"]):
        code, said = validate({"layers": [LAYER]}, *words)
        assert code == 2
        assert "--trust-module takes the name of a package" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py", "takes the name of a module without its ending, but got mine.py. Name it by --trust-module mine."),
        ("nowhere", "nowhere: there is no module nowhere, neither in the current folder, {}, nor installed. Run the "
         "command in the folder of nowhere.py, or install it."),
        ("no.where", "no.where cannot be imported: ModuleNotFoundError: No module named 'no'. Mend or install it."),
        ("broken", "broken cannot be imported: ZeroDivisionError: division by zero. Mend or install it."),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_is_told_with_the_way_out(name, said, refused, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    line = refused(2, "validate", "--config", tmp_path / "config.yaml", "--trust-module", name)
    assert line == f"aepretrain: error: --trust-module {said.format(tmp_path)}\n"


def test_an_argument_without_a_type_is_told_with_the_way_out(validate, tmp_path):
    lines = (
        "from aepretrain import PlainAutoencoder",
        "class Layer(PlainAutoencoder):",
        "    def __init__(self, in_shape, coder): super().__init__(in_shape, coder)",
    )
    (tmp_path / "mine.py").write_text("\n".join(lines))
    code, said = validate({"layers": [{**LAYER, "class_path": "mine.Layer"}]}, "--trust-module", "mine")
    assert code == 2
    assert said.endswith("mine.Layer does not say of which type coder is. Annotate it, as in coder: Coder.\n")


@pytest.mark.parametrize("program", [pytest.param("module", marks=pytest.mark.soak), "script"])
def test_a_module_of_the_current_folder_is_found_and_every_command_that_goes_on_names_it(program, tmp_path):
    (tmp_path / "mine.py").write_text("from aepretrain import PlainAutoencoder\nclass Layer(PlainAutoencoder): pass\n")
    config = {"layers": [{**LAYER, "class_path": "mine.Layer"}], "pretrain": {"epochs": 10_000}, "report": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["fit", "--trust-module=mine", "--config", "config.yaml", "--out", "a run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(
        [sys.executable, *PROGRAMS[program], *words],
        cwd=tmp_path, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert any("run directory" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 143, said
    command = f"aepretrain fit --resume '{tmp_path / 'a run'}' --trust-module mine"
    assert said.endswith(f"Go on with: {command}\n")
    recorded = (tmp_path / "a run" / "commands.txt").read_text()
    assert recorded == f"cd {tmp_path} && aepretrain fit --config config.yaml --out 'a run' --trust-module mine\n"
    words = [*shlex.split(command)[1:], "--pretrain.epochs", "1"]
    again = subprocess.run(
        [sys.executable, *PROGRAMS[program], *words], cwd=tmp_path, text=True, env=environment, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (again.returncode, "pretrain.epochs changed" in again.stderr) == (2, True), again.stderr


def test_the_command_of_a_comparison_that_goes_on_names_the_trusted_modules(runner, tmp_path):
    (tmp_path / "mine.py").write_text("from aepretrain import PlainAutoencoder\nclass Layer(PlainAutoencoder): pass\n")
    lengths = {"pretrain": {"epochs": 1}, "finetune": {"epochs": 5}, "report": False}
    options = {"seeds": 1, "labels": [50], "arms": ["random"], "baselines": []}
    config = {"layers": [{**LAYER, "class_path": "mine.Layer"}], "compare": options, **lengths}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    strike = {"stage": "classifier", "place": "after_step", "signum": signal.SIGTERM}
    words = ("compare", "--config", "config.yaml", "--out", "out", "--trust-module", "mine")
    code, said = runner.run(*words, folder=str(tmp_path), strike=strike)
    command = "aepretrain compare --config config.yaml --out out --trust-module mine"
    assert code == 143, said
    assert said.endswith(f"The same command goes on: {command}\n")
    assert (tmp_path / "out" / "commands.txt").read_text() == f"cd {tmp_path} && {command}\n"
    code, said = runner.run(*command.split()[1:], folder=str(tmp_path))
    assert code == 0, said
