"""The constraint file: everything that the package asks for, in one version each, with hashes and nothing else."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.+!]+) \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found, waiting = [], [*map(Requirement, [*project["dependencies"], *extras["dev"]])]
    while waiting:
        requirement = waiting.pop()
        if requirement.name == project["name"]:
            waiting += [Requirement(each) for extra in requirement.extras for each in extras[extra]]
        else:
            found.append(requirement)
    return found


def test_constraints_hold_names_versions_and_hashes_of_all_that_is_asked_for():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if found := LINE.fullmatch(line):
            pinned[canonicalize_name(found["name"])] = found["version"]
        else:
            assert HASH.fullmatch(line), line
    for requirement in asked_for():
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
