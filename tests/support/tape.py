"""A stand-in for CUDA graphs on the CPU: operations are written down with their addresses, undone, and done again."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aepretrain.training import engine


class TapeRecorder:
    """Records as a CUDA graph does: nothing happens meanwhile, and a replay reads and writes the same memory.

    What a graph would do wrong, it does wrong: numbers of Python stay as they were when it recorded, what Python does
    beside the operations happens once, and an operation that waits for the device is an error.
    """

    def __init__(self):
        self.warmed_up, self.recorded, self.replayed = 0, 0, 0

    def warm_up(self, work):
        self.warmed_up += 1
        return work()

    def record(self, work, generators):
        tape, states = Tape(), [generator.get_state() for generator in generators]
        with tape:
            result = work()
        tape.undo()
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        self.recorded += 1
        return lambda: self._replay(tape), result

    def _replay(self, tape):
        self.replayed += 1
        tape.replay()


class Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations, self.before = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags), func
        for storage in _written(func, args, kwargs):
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, _new(func, out)))
        return out

    def undo(self):
        for storage, before in self.before.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, places in self.operations:
            for place, value in zip(places, _new(func, func(*args, **kwargs)), strict=True):
                if not place._is_zerotensor():  # nothing lies in it
                    place.copy_(value)


def _written(func, args, kwargs):
    values = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from (tensor.untyped_storage() for tensor in _tensors(values.get(argument.name)))


def _new(func, out):
    """Results that lie in memory of their own."""
    if any(returned.alias_info is not None for returned in func._schema.returns):
        return []
    return _tensors(out)


def _tensors(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def record_steps(monkeypatch):
    """Let the engine record steps on the CPU from now on."""
    recorder = TapeRecorder()
    monkeypatch.setattr(engine, "recorder_for", lambda device: recorder)
    return recorder
