"""A run and a comparison, made once for all tests of the report; those that change files take a copy."""

import shutil

import pytest

from tests.support.records import make


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return make("fit", tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    return make("compare", tmp_path_factory.mktemp("comparison"))


@pytest.fixture
def copy(tmp_path):
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")
