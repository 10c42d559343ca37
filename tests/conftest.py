"""What every test gets: a seed, a quiet W&B, and the folder with real data where there is one."""

import os
from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("AEPRETRAIN_RUN_DIR", raising=False)


@pytest.fixture
def mnist_folder():
    """The folder with the real MNIST: named by AEPRETRAIN_DATA, or beside the checkout."""
    folder = Path(os.environ.get("AEPRETRAIN_DATA", SHARED_DATA))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST: name a folder with torchvision's data by AEPRETRAIN_DATA")
    return folder
