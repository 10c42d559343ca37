"""Compiled steps without a compiler: the function of a block runs as it stands, which takes no seconds."""

from aepretrain.training.acceleration import compiled

BLOCK = 2
"""Steps of a block, so that small epochs have some."""


def uncompiled(monkeypatch):
    """Have steps run as plain functions where they would be compiled; every function appears in the list."""
    functions = []

    def keep(function, inputs):
        functions.append(function)
        return function

    monkeypatch.setattr(compiled, "BLOCK", BLOCK)
    monkeypatch.setattr(compiled, "compiler", keep)
    monkeypatch.setattr(compiled, "reason_of_machine", lambda: None)
    return functions
