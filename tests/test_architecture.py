"""Imports go down only: the floors of the README, read with ast."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aepretrain"

# The first name that fits a module says its floor; on floor 1 the rooms do not import one another.
FLOORS = {
    "aepretrain.errors": 0,
    "aepretrain.storage.files": 0,
    "aepretrain.parts": 0,
    "aepretrain.layers": 1,
    "aepretrain.heads.classification": 1,
    "aepretrain.data": 1,
    "aepretrain.training": 2,
    "aepretrain.pretraining.stack": 2,
    "aepretrain.export.encoder": 2,
    "aepretrain.export.module": 2,
    "aepretrain.tracking": 3,
    "aepretrain.report": 3,
    "aepretrain.runs.directory": 3,
    "aepretrain.runs.artifacts": 3,
    "aepretrain.evaluation.statistics": 3,
    "aepretrain.evaluation.baselines": 3,
    "aepretrain.compare": 3,
    "aepretrain.runs.experiment": 3,
    "aepretrain.cli.config": 4,
    "aepretrain.cli.import_allowlist": 4,
    "aepretrain.cli.config_errors": 4,
    "aepretrain.cli.terminal": 4,
    "aepretrain.cli.resume": 4,
    "aepretrain.cli.verbs": 4,
    "aepretrain.cli.main": 4,
    "aepretrain.__main__": 4,
}
ROOMS_OF_FLOOR_1 = ("aepretrain.layers", "aepretrain.heads.classification", "aepretrain.data")
KNOWS_RESULTS_NOT_MODELS = ("aepretrain.tracking", "aepretrain.report")


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def room(module):
    return next((name for name in FLOORS if module == name or module.startswith(name + ".")), None)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            if node.module == "aepretrain":
                yield from (f"aepretrain.{alias.name}" for alias in node.names)


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_has_a_floor_and_imports_go_down_only(path):
    own = room(module_name(path))
    assert own is not None, f"{path} has no floor: add it to the table here and in the README"
    for target in imports(path):
        other = room(target)
        if other is None or other == own:
            continue
        assert FLOORS[other] <= FLOORS[own], f"{own} imports {other}, which is above it"
        assert not (own in ROOMS_OF_FLOOR_1 and other in ROOMS_OF_FLOOR_1), f"{own} imports {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "parts").glob("*.py")), ids=module_name)
def test_the_mathematics_imports_torch_alone(path):
    allowed = {"torch", "aepretrain", *sys.stdlib_module_names}
    assert {target.split(".")[0] for target in imports(path)} <= allowed


@pytest.mark.parametrize("name", KNOWS_RESULTS_NOT_MODELS)
def test_tracking_and_report_know_results_not_models(name):
    for path in (PACKAGE / name.split(".")[1]).glob("*.py"):
        assert not {room(target) for target in imports(path)} & {*ROOMS_OF_FLOOR_1, "aepretrain.pretraining.stack"}


def test_every_exported_name_exists():
    import aepretrain

    for name in aepretrain.__all__:
        assert getattr(aepretrain, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Sparce'"):
        _ = aepretrain.Sparce
