"""What the C library, torch and the optimizer are told so that a small step does not wait for them."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator

import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from aepretrain.training.options import MatmulPrecision

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_ON_HEAP = 32 * 2**20
"""The most that glibc accepts."""
KEPT_BYTES = 2**30
FUSED = {"cpu": (Adagrad, Adam, AdamW, SGD), "cuda": (Adam, AdamW, SGD)}
"""Adagrad makes its state before it is fused, on the CPU, where a GPU's kernel cannot read it."""


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for the next step, instead of giving it back to the system each time.

    Every step allocates its gradients anew. By default glibc maps fresh pages for each, and the kernel clears them:
    half as much time again per step of a 784-1000 layer at batch 20. At most 1 GiB of freed memory is kept.

    Returns:
        Whether the C library took the settings; another one than glibc is left as it is.
    """
    try:
        library = ctypes.CDLL(None)
        settings = ((M_MMAP_THRESHOLD, LARGEST_ON_HEAP), (M_TRIM_THRESHOLD, KEPT_BYTES))
        taken = [library.mallopt(name, value) == 1 for name, value in settings]
        return all(taken)
    except (OSError, AttributeError, TypeError):
        return False


def give_back_memory() -> None:
    """Give what is kept but not used back to the system, so that one can see how much is free."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class _MallInfo(ctypes.Structure):
    """What glibc says of its heap, in bytes (mallinfo2)."""

    names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in names]


def free_in_heap() -> int:
    """Bytes that the C library holds, and has free for what comes next; 0 where it does not tell."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ask = ctypes.CDLL(None).mallinfo2
        ask.restype = _MallInfo
        return int(ask().fordblks)
    return 0


def count_gpus_once() -> None:
    """Where there is no GPU, remember that: optimizers of torch 2.14 load the driver's library at every step to ask."""
    if not torch.cuda.is_available() and hasattr(torch.cuda, "_cached_device_count"):
        torch.cuda._cached_device_count = 0


@contextlib.contextmanager
def matmul_precision(precision: MatmulPrecision | None) -> Iterator[None]:
    """Multiply float32 matrices in this precision for a while; ``None`` changes nothing.

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
    """Let an optimizer update all parameters in one kernel, where it can and its settings do not say otherwise.

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
                # One that was not fused counts its steps on the CPU, where a GPU's kernel cannot read them.
                if isinstance(steps := optimizer.state.get(weights, {}).get("step"), torch.Tensor):
                    optimizer.state[weights]["step"] = steps.to(weights.device)
    if type(optimizer) in FUSED["cpu"] and all(group.get("fused") for group in optimizer.param_groups):
        # As if it had been made so: half precision asks it to leave out an update whose gradients overflowed.
        optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
