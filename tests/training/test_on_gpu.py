"""Recorded steps on a GPU: the bits of launched ones, for every module of ours. Skipped where there is none."""

import pytest
import torch
from torch.optim import SGD, Adam

from .test_engine import MODULES, make, same_bits, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

OPTIMIZERS = {"sgd": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9), "adam": Adam}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODULES)
def test_graphs_have_the_bits_of_launched_steps(name, optimizer, precision, capsys):
    modules = [make(name, optimizer=OPTIMIZERS[optimizer]) for _ in range(2)]
    options = {"epochs": 5, "precision": precision, "accelerator": "gpu"}
    train(modules[0], cuda_graphs="off", **options)
    train(modules[1], cuda_graphs="on", **options)
    said = capsys.readouterr().out
    # SGD's momentum is not fused under a loss scale, and what is not fused is not recorded.
    assert ("kernel by kernel" in said) == (optimizer == "sgd" and precision == "16-mixed"), said
    assert same_bits(*modules)
