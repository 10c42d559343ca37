"""Detect out-of-memory errors, and suggest a setting that needs less memory."""

import contextlib
from collections.abc import Iterator

import torch

from aepretrain.errors import OutOfMemoryError

SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "alloc_failed")
SETTING = "--trainer.accumulate"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, for which torch has no error type on the CPU.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
        True
        >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in SIGNS):
        return True
    # When writing a checkpoint, torch raises another error, and only its context names the reason.
    return error.__context__ is not None and is_out_of_memory(error.__context__)


@contextlib.contextmanager
def memory_advice(stage: str, batch_size: int, parts: int | None = None) -> Iterator[None]:
    """Turn out-of-memory errors of torch, numpy or Python into one line that names a smaller setting.

    Args:
        stage: The stage's name.
        batch_size: Examples per optimizer step, over all processes.
        parts: Number of parts of a step; ``None`` outside of steps.

    Raises:
        OutOfMemoryError: If the block ran out of memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        setting = None
        way_out = "Not a step but the data need too much: use fewer units, or a machine with more memory."
        if parts is not None and parts < batch_size:
            setting = f"{SETTING} {min(4 * parts, batch_size)}"
            way_out = f"The same steps in smaller parts need less: {setting}."
        elif parts is not None:
            way_out = "Not even one example at a time fits: use fewer units, or a machine with more memory."
        divided = f", computed in {parts} parts" if parts is not None and parts > 1 else ""
        raise OutOfMemoryError(
            f"{stage} ran out of memory with batches of {batch_size} examples{divided}. {way_out} "
            "Finished stages and checkpoints are intact.",
            setting,
        ) from error
