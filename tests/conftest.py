"""What every test gets: a seed, a quiet W&B, and the folder with real data where there is one."""

import gc
import os
from pathlib import Path

# What is imported and collected stays: the collector looks at it neither now nor in the tests.
gc.disable()

# Models of a few units are slower on two threads than on one; set before torch reads it, and inherited by subprocesses.
os.environ["OMP_NUM_THREADS"] = "1"
# Nothing asks a server; here, and not in a fixture, because fixtures of whole modules start programs too.
for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]
os.environ["WANDB_MODE"] = "disabled"

import hypothesis  # noqa: F401  asks the collector for what was imported before it, which is frozen later
import pytest
import torch

from tests.support.runs import Runner

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_run_directory(monkeypatch):
    """No test inherits a run directory."""
    monkeypatch.delenv("AEPRETRAIN_RUN_DIR", raising=False)


def quicken_embeddings(patch):
    """Put the first two features in place of t-SNE, which takes seconds in a process of its own."""
    for module in ("report.pretraining", "runs.experiment", "compare"):
        patch.setattr(f"aepretrain.{module}.NeighbourEmbeddings", FirstFeatures)


class FirstFeatures:
    """The first two features of arrays, in place of t-SNE."""

    spaces = ()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def load(self):
        pass

    def begin(self, spaces):
        self.spaces = spaces

    def points(self):
        return [x[:, :2] for x in self.spaces]


@pytest.fixture
def quick_embeddings(monkeypatch):
    """Reports show two features of the codes in place of t-SNE."""
    quicken_embeddings(monkeypatch)


@pytest.fixture(scope="module")
def empty_pictures():
    """Matplotlib saves figures without drawing them, which takes most of the time of a small comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"\x89PNG"))
        quicken_embeddings(patch)
        yield


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    """Runs the command as often as one likes, and does to it what one likes: see killing.py."""
    return Runner(tmp_path_factory.mktemp("runner"))


@pytest.fixture
def refused(runner, tmp_path):
    """Runs a command in the test's own folder, which must be refused in one line with a code; returns that line."""

    def run(code, *words):
        found, said = runner.run(*words, folder=str(tmp_path))
        assert (found, len(said.splitlines())) == (code, 1), said
        assert said.startswith("aepretrain: error: ")
        return said

    return run


@pytest.fixture
def mnist_folder():
    """The folder with the real MNIST: named by AEPRETRAIN_DATA, or beside the checkout."""
    folder = Path(os.environ.get("AEPRETRAIN_DATA", SHARED_DATA))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST: name a folder with torchvision's data by AEPRETRAIN_DATA")
    return folder
