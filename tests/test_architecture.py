"""A folder imports from those below it alone, and nothing of Lightning or torch is patched: read with ast."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aepretrain"

FLOORS = (
    "errors",
    "loading",
    "stopping",
    "processes",
    "console",
    "storage",
    "results",
    "parts",
    "layers",
    "heads",
    "data",
    "training",
    "pretraining",
    "finetuning",
    "export",
    "ensembles",
    "evaluation",
    "tracking",
    "report",
    "runs",
    "compare",
    "sklearn",
    "cli",
    "__main__",
)
"""From the ground up; the README of the package says what each holds."""
KNOWS_NO_ENSEMBLES = ("parts", "layers", "heads", "pretraining", "finetuning", "training", "data")
KNOWS_RESULTS_NOT_MODELS = ("tracking", "report")


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def floor(module):
    """The folder or file of the ground floor that a module of ours belongs to; ``None`` for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "aepretrain" and len(parts) > 1 else None


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            if node.module == "aepretrain":
                yield from (f"aepretrain.{alias.name}" for alias in node.names if not alias.name.startswith("__"))


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_has_a_floor_and_imports_go_down_only(path):
    own = floor(module_name(path))
    assert own in FLOORS, f"{path} has no floor: add it to the list here and in aepretrain/README.md"
    for target in imports(path):
        other = floor(target)
        if other is not None and other != own:
            assert FLOORS.index(other) < FLOORS.index(own), f"{own} imports {target}, which is above it"


@pytest.mark.parametrize("name", KNOWS_NO_ENSEMBLES)
def test_only_what_stands_above_knows_of_many_seeds(name):
    for path in (PACKAGE / name).rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not {name for name in names if name.startswith("Seed")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "parts").glob("*.py")), ids=module_name)
def test_the_mathematics_imports_torch_and_itself_alone(path):
    allowed = {"torch", "aepretrain", *sys.stdlib_module_names}
    assert {target.split(".")[0] for target in imports(path)} <= allowed
    own = {target for target in imports(path) if target.startswith("aepretrain")}
    assert all(target.startswith("aepretrain.parts.") for target in own)


RESULTS = [path for path in sorted((PACKAGE / "results").glob("*.py")) if path.stem != "statistics"]


@pytest.mark.parametrize("path", RESULTS, ids=module_name)
def test_results_know_files_and_statistics_alone(path):
    own = {target for target in imports(path) if target.startswith("aepretrain.")}
    allowed = ("aepretrain.errors", "aepretrain.storage", "aepretrain.results")
    assert all(target.startswith(allowed) for target in own)
    assert not {target for target in imports(path) if target.split(".")[0] in ("torch", "lightning", "numpy")}


@pytest.mark.parametrize("name", KNOWS_RESULTS_NOT_MODELS)
def test_tracking_and_report_know_results_not_models(name):
    for path in (PACKAGE / name).glob("*.py"):
        assert not {floor(target) for target in imports(path)} & {"layers", "heads", "data", "pretraining", "training"}


def attributes(path, kind):
    """The attributes that a file reads or writes, as (owner, name)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, kind):
            yield ast.unparse(node.value), node.attr


def imported_names(path):
    """All that a file imports, such as torch.nn.Linear."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = "" if isinstance(node, ast.Import) else f"{node.module}."
            yield from (f"{module}{alias.name}" for alias in node.names)


READS_PRIVATE_NAMES = PACKAGE / "training" / "acceleration" / "torch_internals.py"
"""What torch says in private alone, with the reason."""
OF_JSONARGPARSE = PACKAGE / "cli" / "jsonargparse_internals.py"
"""What jsonargparse has no option for: two places are written there, with the reason."""
OWNERS_OF_OUR_OWN = re.compile(r"(self|cls|data|os|source|own|namespace)$")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_private_name_of_another_object_is_read_or_written(path):
    if path in (READS_PRIVATE_NAMES, OF_JSONARGPARSE):
        return
    for kind in (ast.Load, ast.Store, ast.Del):
        for owner, name in attributes(path, kind):
            if name.startswith("_") and not name.startswith("__") and not OWNERS_OF_OUR_OWN.search(owner):
                pytest.fail(f"{path} uses {owner}.{name}")
    for target in imported_names(path):
        outside = target.split(".")[0] in ("torch", "lightning", "torchmetrics", "jsonargparse")
        assert not (outside and any(part.startswith("_") for part in target.split("."))), f"{path} imports {target}"


def test_no_private_name_is_written():
    assert not [name for _, name in attributes(READS_PRIVATE_NAMES, ast.Store) if name.startswith("_")]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_method_of_another_object_is_replaced(path):
    """Assignments to attributes of what is not ours: ``module.training_step = ...`` and the like."""
    hooks = {"forward", "training_step", "validation_step", "log", "log_dict", "step", "backward", "optimizer_step"}
    replaced = {
        f"{owner}.{name}"
        for owner, name in attributes(path, ast.Store)
        if name in hooks and owner not in ("self", "state")
    }
    assert not replaced
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
    assert "setattr" not in calls


def test_every_exported_name_exists():
    import aepretrain

    for name in aepretrain.__all__:
        assert getattr(aepretrain, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Sparce'"):
        _ = aepretrain.Sparce
