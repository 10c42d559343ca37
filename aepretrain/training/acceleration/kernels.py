"""Faster kernels: fused optimizers, and matrix products in another precision."""

import contextlib
import functools
import os
from collections.abc import Iterator

import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from aepretrain.training.options import MatmulPrecision

FUSED = {"cpu": (Adagrad, Adam, AdamW, SGD), "cuda": (Adam, AdamW, SGD)}
"""Fused optimizers by device type. On CUDA, Adagrad is left out: it creates its state on the CPU before it is fused,
where a GPU kernel cannot read it."""


@contextlib.contextmanager
def matmul_precision(precision: MatmulPrecision | None) -> Iterator[None]:
    """Multiply float32 matrices in this precision within the block; ``None`` changes nothing.

    Example:
        >>> with matmul_precision("high"):
        ...     torch.get_float32_matmul_precision()
        'high'
    """
    if precision is None:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def fuse(optimizer: Optimizer) -> None:
    """Let an optimizer update all parameters in one kernel, if it can and its settings leave the choice open.

    Example:
        >>> optimizer = Adam([torch.zeros(3, requires_grad=True)])
        >>> fuse(optimizer)
        >>> optimizer.param_groups[0]["fused"]
        True
    """
    for group in optimizer.param_groups:
        silent = group.get("fused") is None and group.get("foreach") is None
        floats = all(parameter.is_floating_point() for parameter in group["params"])
        fits = floats and all(type(optimizer) in FUSED.get(weights.device.type, ()) for weights in group["params"])
        if silent and fits and not group.get("differentiable") and not group.get("capturable"):
            group["fused"] = True
            for weights in group["params"]:
                # An unfused optimizer counts its steps on the CPU, where a GPU kernel cannot read them.
                if isinstance(steps := optimizer.state.get(weights, {}).get("step"), torch.Tensor):
                    optimizer.state[weights]["step"] = steps.to(weights.device)


@functools.cache
def disable_nvml_check() -> None:
    """Undo Lightning's ``PYTORCH_NVML_BASED_CUDA_CHECK`` if there is no GPU.

    With it, Adam loads the driver library at every step to look for a GPU, and a step of a 64-256 layer takes 1.5 times
    as long. The setting is for programs that fork after querying CUDA, which do not need it without a GPU.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
