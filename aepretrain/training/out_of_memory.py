"""Running out of memory: told from other errors, and what setting would need less."""

import contextlib
import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from aepretrain.errors import OutOfMemoryError
from aepretrain.training.acceleration.tuning import free_in_heap, give_back_memory
from aepretrain.training.dispatches import Dispatches

SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "alloc_failed")
BACKWARD = 2
"""A backward pass holds about as much again as what the forward pass kept for it."""
USABLE = 0.75
"""The share of free memory that is counted on: what was freed before is in pieces."""
SETTING = "--trainer.accumulate"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on the CPU torch has no type of its own for it.

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
    # Where a checkpoint is written torch says something else, and only the error behind it names the reason.
    return error.__context__ is not None and is_out_of_memory(error.__context__)


def enough_parts(examples: int, parts: int, *, each: int, fixed: int, free: int | None) -> int | None:
    """Into how many parts a step is to be divided so that it fits: doubled until it does.

    Args:
        examples: Of one step, in this process.
        parts: Into how many it was divided.
        each: Bytes that one example needs.
        fixed: Bytes that a step needs whatever its parts.
        free: Bytes that are free; ``None`` where nobody knows: the number is doubled once.

    Returns:
        The number of parts, at most one example each; ``None`` if one example at a time does not fit either.

    Example:
        >>> enough_parts(100, 1, each=10, fixed=50, free=200), enough_parts(100, 1, each=10, fixed=50, free=None)
        (8, 2)
    """
    while parts < examples:
        parts = min(2 * parts, examples)
        if free is None or fixed + each * math.ceil(examples / parts) <= free:
            return parts
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still have on a device; ``None`` where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    give_back_memory()
    found = [_unused_address_space(), _unused_by_the_machine(), _unused_by_the_container()]
    return min((bytes_ for bytes_ in found if bytes_ is not None), default=None)


def _unused_address_space() -> int | None:
    with contextlib.suppress(OSError, ValueError, ImportError):
        import resource  # which not every system has

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        # What was given back keeps its addresses, and is there to be used again.
        return None if limit == resource.RLIM_INFINITY else limit - used + free_in_heap()
    return None


def _unused_by_the_machine() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    return None


def _unused_by_the_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    return None


class MemoryAdvice(Callback):
    """When memory runs out in a stage, find out at once, while it is as it was, what setting would need less.

    Args:
        stage: The stage's name.
        batch_size: Examples per optimizer step, over all processes.
        accumulate: Into how many parts a step is divided.
        loss_of: The module's ``training_step``, which is tried with a few examples to see what each needs; ``None``
            where there is no step to divide.
    """

    def __init__(
        self,
        stage: str,
        batch_size: int,
        accumulate: int = 1,
        loss_of: Callable[[Sequence[Tensor], int], Any] | None = None,
    ) -> None:
        self.stage = stage
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.loss_of = loss_of
        self._advice: tuple[str, str | None] | None = None

    @contextlib.contextmanager
    def given(self) -> Iterator[None]:
        """Turn what torch, numpy or Python say about missing memory into one line.

        Raises:
            OutOfMemoryError: If the block ran out of memory.
        """
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            way_out, setting = self._advice or (
                "Not a step but the data need too much: use fewer units, or a machine with more memory.", None
            )  # fmt: skip
            divided = f", computed in {self.accumulate} parts" if self.accumulate > 1 else ""
            raise OutOfMemoryError(
                f"{self.stage} ran out of memory with batches of {self.batch_size} examples{divided}. {way_out} "
                "Finished stages and checkpoints are intact.",
                setting,
            ) from error

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not is_out_of_memory(exception) or trainer.train_dataloader is None:
            return
        traceback.clear_frames(exception.__traceback__)  # they still hold what the step had computed
        pl_module.zero_grad(set_to_none=True)
        try:
            each, fixed = self._needs(trainer, pl_module)
            free = free_memory(pl_module.device)
            free = None if free is None else int(USABLE * free)
        except Exception:  # an estimate that cannot be had leaves the simplest advice
            each, fixed, free = 0, 0, None
        examples = self.batch_size // trainer.world_size
        parts = enough_parts(examples, self.accumulate, each=each, fixed=fixed, free=free)
        if parts is None:
            self._advice = (
                "By an estimate not even one example at a time would fit: use fewer units, or a machine with more "
                "memory.", None,
            )  # fmt: skip
        else:
            sizes = "" if free is None else f" ({_mega(fixed + each * math.ceil(examples / parts))} of {_mega(free)})"
            setting = f"{SETTING} {parts}"
            self._advice = f"The same steps in {parts} parts should fit by an estimate{sizes}: {setting}.", setting

    def _needs(self, trainer: Trainer, module: LightningModule) -> tuple[int, int]:
        """Bytes that one example needs in a step, and bytes that the step needs anyway: gradients, moments."""
        dispatches = trainer.train_dataloader
        assert isinstance(dispatches, Dispatches)
        assert self.loss_of is not None
        few = min(2, dispatches.batches.count)  # batch norm asks for two
        tensors = dispatches.batches.gather(dispatches.batches.order()[:few])
        own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        kept: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with (
            trainer.precision_plugin.train_step_context(),
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        ):
            loss = self.loss_of(tensors, 0)
        del loss
        weights = sum(parameter.nbytes for parameter in module.parameters() if parameter.requires_grad)
        moments = 0 if trainer.optimizers[0].state else 2
        return BACKWARD * sum(kept.values()) // few, weights * (1 + moments)


def _mega(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
