"""Every example in a docstring runs, and every public class and function that a user calls has one."""

import doctest
import importlib
import inspect

import numpy as np
import pytest
import torch
from torch import nn

import aepretrain

from .test_architecture import MODULES, module_name


@pytest.mark.parametrize("name", [module_name(path) for path in MODULES if path.name != "__main__.py"])
def test_examples_run(name):
    module = importlib.import_module(name)
    names = {"torch": torch, "nn": nn, "np": np, **{key: getattr(aepretrain, key) for key in aepretrain.__all__}}
    found = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


ABSTRACT = {"Autoencoder", "Coder", "Corruption", "DataModule", "Likelihood", "AEPretrainError"}


@pytest.mark.parametrize("name", sorted(set(aepretrain.__all__) - {"__version__"} - ABSTRACT))
def test_what_is_exported_has_a_docstring_with_an_example(name):
    thing = getattr(aepretrain, name)
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].endswith((".", ":")), text.splitlines()[0]
    assert ">>>" in text or issubclass(thing, Exception)
