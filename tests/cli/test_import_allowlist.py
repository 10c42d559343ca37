"""A config puts known parts together; it cannot make Python import anything else."""

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
