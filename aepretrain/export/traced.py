"""An encoder as a graph of torch operators, which the formats ``pt2`` and ``onnx`` hold."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

LOUD = ("torch", "onnxscript", "onnx_ir", "root")
"""Loggers whose warnings on how an export is going nobody can follow."""
PRIVATE = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
"""What the trace of an operator says of files and folders of this machine, and of nothing that a reader needs."""


def trace(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Trace a network for batches of any size.

    Args:
        network: A network in evaluation mode.
        example: Inputs of the shape and type that it will take, ``(B, ...)``; of these at least two: of one row, the
            size 1 would be taken for a constant.

    Example:
        >>> program = trace(nn.Linear(4, 2), torch.rand(2, 4))
        >>> program.module()(torch.rand(1, 4)).shape
        torch.Size([1, 2])
    """
    assert len(example) >= 2
    with quiet(), torch.no_grad():
        program = export(network, (example,), dynamic_shapes=({0: Dim.DYNAMIC},))
    for node in program.graph.nodes:
        for name in PRIVATE:
            node.meta.pop(name, None)
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters, which tell the terminal what is of use to their authors."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
