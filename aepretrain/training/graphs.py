"""Optimizer steps as CUDA graphs, recorded once and launched whole: small kernels take longer to launch than to run."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aepretrain.errors import GraphError
from aepretrain.parts.corruptions import Corruption
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.penalties import SparsityPenalty

Launch = Callable[[Sequence[Tensor]], Tensor]
"""One optimizer step: the tensors of a batch to its loss."""

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
WARM_UP = 3
"""Steps that are launched before one is recorded: optimizers make their state in them, libraries their workspaces."""
WORTH = 100
"""Replays that are worth a recording: where settings changed before so many, the next one waits for as many steps."""
WAITING = ("aten._linalg_check_errors", "aten.embedding_renorm_")
"""Operations that wait for the device, but do not say so themselves."""
INDEXING = ("aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_")
TRUSTED = ("aepretrain", "lightning", "torch", "torchmetrics", "torchvision")
"""Packages whose parts compute from the batch, the weights and the noise alone, and whose callbacks leave them so."""


class Recorder(Protocol):
    """How a kind of device records what it is given to do."""

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Do the work, so that it can be recorded afterwards."""

    def record(self, work: Callable[[], Tensor], generators: Sequence[Generator]) -> tuple[Callable[[], None], Tensor]:
        """Record the work without doing it: how to do it from now on, and where its result then lies."""


class CudaRecorder:
    """Records into CUDA graphs.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        """Do the work on the stream that records, as autograd wants it."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def record(self, work: Callable[[], Tensor], generators: Sequence[Generator]) -> tuple[Callable[[], None], Tensor]:
        """Capture a graph that reads the seeds of the generators anew whenever it is launched."""
        graph = torch.cuda.CUDAGraph()
        if TORCH < (2, 13):  # later ones find the generators by themselves, and warn of the call
            for generator in generators:
                graph.register_generator_state(generator)
        # Other threads may go on reading data meanwhile; one that fails may leave its stream as the current one.
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            result = work()
        return graph.replay, result


@dataclass(frozen=True)
class Recording:
    """A recorded step.

    Args:
        batch: Where it reads its batch.
        replay: Does it.
        loss: Where it leaves its loss.
    """

    batch: Sequence[Tensor]
    replay: Callable[[], None]
    loss: Tensor

    def __call__(self, batch: Sequence[Tensor]) -> Tensor:
        for place, tensor in zip(self.batch, batch, strict=True):
            place.copy_(tensor)
        self.replay()
        return self.loss.clone()


class RecordedSteps:
    """A step that is recorded after a few calls with a batch of the same shape, and from then on replayed.

    A recording keeps addresses and numbers. Weights and optimizer state stay where they are; a batch is copied to where
    the recorded one lay; random numbers come from generators that are seeded before each call; learning rates and
    other settings of the optimizer are numbers, so where one changes, recording begins anew.

    Args:
        step: One optimizer step, which does not seed its noise.
        optimizer: What it steps, fused.
        generators: Where its noise comes from.
        recorder: How it is recorded.
        gives_up: Is told why, where the step turns out to be none that can be recorded.

    Raises:
        GraphError: If a step that should be one that can be recorded is not. What it did in part cannot be undone.
    """

    def __init__(
        self,
        step: Launch,
        optimizer: Optimizer,
        generators: Sequence[Generator],
        recorder: Recorder,
        gives_up: Callable[[str], None],
    ) -> None:
        self.step = step
        self.optimizer = optimizer
        self.generators = generators
        self.recorder = recorder
        self.gives_up = gives_up
        self.recordable = True
        self._wait = WARM_UP
        self._replays = 0
        self._settings: list[dict[str, Any]] = []
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._recordings: dict[tuple[torch.Size, ...], Recording] = {}

    def begin(self) -> None:
        """Look at the optimizer's settings, before some steps during which they do not change."""
        if (settings := _settings(self.optimizer)) != self._settings:
            self._settings = settings
            if self._recordings:
                self._wait = WARM_UP if self._replays >= WORTH else WORTH
            self.forget()

    def forget(self) -> None:
        """Give back what the recordings hold; the next steps are launched."""
        self._calls.clear()
        self._recordings.clear()
        self._replays = 0

    def __call__(self, batch: Sequence[Tensor]) -> Tensor:
        """The loss of a batch, before the update that it leads to."""
        shapes = tuple(tensor.shape for tensor in batch)
        if (recording := self._recordings.get(shapes)) is not None:
            return self._replay(recording, batch)
        if not self.recordable:
            return self.step(batch)
        self._calls[shapes] += 1
        if self._calls[shapes] == 1:
            return self._try(batch)
        if self._calls[shapes] <= self._wait:
            return self.recorder.warm_up(lambda: self.step(batch))
        recording = self._recordings[shapes] = self._record([tensor.clone() for tensor in batch])
        return self._replay(recording, batch)

    def _replay(self, recording: Recording, batch: Sequence[Tensor]) -> Tensor:
        self._replays += 1
        return recording(batch)

    def _try(self, batch: Sequence[Tensor]) -> Tensor:
        """A first step of this shape, watched for what a graph cannot hold."""
        with Watch() as watch:
            loss = self.recorder.warm_up(lambda: self.step(batch))
        if watch.reason is not None:
            self.recordable = False
            self.gives_up(watch.reason)
        return loss

    def _record(self, batch: Sequence[Tensor]) -> Recording:
        try:
            with _capturable(self.optimizer):
                replay, loss = self.recorder.record(lambda: self.step(batch), self.generators)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first, *_ = str(error).splitlines() or [type(error).__name__]
            raise GraphError(
                f"a step could not be recorded as a CUDA graph: {first}. Set --trainer.cuda_graphs off; a run that "
                "saved goes on with it by --resume."
            ) from error
        return Recording(batch, replay, loss)


class Watch(TorchDispatchMode):
    """Looks for what a graph cannot hold: operations that wait for the device, or that read the host's memory.

    Example:
        >>> with Watch() as watch:
        ...     norm = torch.ones(3).norm().item()
        >>> watch.reason
        'aten._local_scalar_dense waits for the device'
    """

    reason: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.reason is None:
            self.reason = _reason(func, args, tree_leaves((args, kwargs, result)))
        return result


def _reason(operation: Any, arguments: Sequence[Any], values: Sequence[Any]) -> str | None:
    name, tensors = str(operation.overloadpacket), [value for value in values if isinstance(value, Tensor)]
    waits = bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(operation.tags))
    if name in INDEXING:  # what a mask chooses has to be counted, rows that are named have not
        waits = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1])
    if waits or name in WAITING:
        return f"{name} waits for the device"
    # Forward-mode differentiation shows tensors of shapes alone, on the device "meta".
    kinds = {tensor.device.type for tensor in tensors} - {"meta"}
    return f"{name} takes tensors of {' and '.join(sorted(kinds))}" if len(kinds) > 1 else None


def reason_to_launch(
    module: LightningModule, optimizer: Optimizer, callbacks: Sequence[Callback] = (), *, trust: bool = False
) -> str | None:
    """Why the steps of a module cannot be recorded; ``None`` if they can, as far as one sees without a step.

    Args:
        module: What is trained.
        optimizer: Its optimizer.
        callbacks: What Lightning calls meanwhile.
        trust: Whether parts that are neither torch's nor ours are known to compute from the batch, the weights and the
            noise alone. What else they do in Python would happen once, when they are recorded.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder
        >>> layer = PlainAutoencoder((6,), Dense(4))
        >>> reason_to_launch(layer, torch.optim.RMSprop(layer.parameters()))
        'the optimizer RMSprop is not fused'
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        return f"the optimizer {type(optimizer).__name__} is not fused"
    if trust:
        return None
    if not type(optimizer).__module__.startswith("torch."):
        return f"the optimizer {type(optimizer).__name__} is not torch's"
    if _hooks(optimizer, "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        return f"a hook looks at each step of the optimizer {type(optimizer).__name__}"
    for callback in callbacks:
        if _is_stranger(callback):
            return f"the callback {type(callback).__name__} may change what a step computes"
    for name, parameter in module.named_parameters():
        if _hooks(parameter, "_backward_hooks", "_post_accumulate_grad_hooks"):
            return f"a hook looks at each gradient of {name}"
    for each in module.modules():
        if "forward" in vars(each):
            return f"the forward of a {type(each).__name__} was replaced"
        if _hooks(each, "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"):
            return f"a hook looks at each step of a {type(each).__name__}"
        parts = [part for part in vars(each).values() if isinstance(part, Corruption | Likelihood | SparsityPenalty)]
        for part in (each, *parts):
            if _is_stranger(part):
                return (
                    f"{type(part).__name__} is a part of your own. If it computes from the batch, the weights and "
                    "self.noise alone, set trainer.cuda_graphs to on"
                )
    return None


def _is_stranger(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] not in TRUSTED


def _hooks(owner: Any, *kinds: str) -> list[Any]:
    """The hooks of these kinds that are not ours."""
    every = [hook for kind in kinds for hook in (getattr(owner, kind, None) or {}).values()]
    return [hook for hook in every if not str(getattr(hook, "__module__", "")).startswith("aepretrain.")]


@contextlib.contextmanager
def _capturable(optimizer: Optimizer) -> Iterator[None]:
    """Tell the optimizer that it is recorded; else it refuses, and told so while it is launched it warns."""
    before = [(group, group["capturable"]) for group in optimizer.param_groups if "capturable" in group]
    for group, _ in before:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, own in before:
            group["capturable"] = own


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Everything but the weights; a tensor is read where it lies, so only another one is a change."""
    return [
        {name: id(value) if isinstance(value, Tensor) else value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
