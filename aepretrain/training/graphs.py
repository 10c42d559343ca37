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

from aepretrain.parts.corruptions import Corruption
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.penalties import SparsityPenalty

Launch = Callable[[Sequence[Tensor]], Tensor]
"""One optimizer step: the tensors of a batch to its loss."""

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
WARM_UP = 3
"""Steps that are launched before one is recorded: optimizers make their state in them, libraries their workspaces."""
TRUSTED = ("aepretrain", "lightning", "torch", "torchmetrics")
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
        # Other threads may go on reading data meanwhile.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
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
        self._settings: list[dict[str, Any]] = []
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._recordings: dict[tuple[torch.Size, ...], Recording] = {}

    def begin(self) -> None:
        """Look at the optimizer's settings, before some steps during which they do not change."""
        if (settings := _settings(self.optimizer)) != self._settings:
            self._settings = settings
            self.forget()

    def forget(self) -> None:
        """Give back what the recordings hold; the next steps are launched."""
        self._calls.clear()
        self._recordings.clear()

    def __call__(self, batch: Sequence[Tensor]) -> Tensor:
        """The loss of a batch, before the update that it leads to."""
        shapes = tuple(tensor.shape for tensor in batch)
        if (recording := self._recordings.get(shapes)) is not None:
            return recording(batch)
        if not self.recordable:
            return self.step(batch)
        self._calls[shapes] += 1
        if self._calls[shapes] == 1:
            return self._try(batch)
        if self._calls[shapes] <= WARM_UP:
            return self.recorder.warm_up(lambda: self.step(batch))
        recording = self._recordings[shapes] = self._record([tensor.clone() for tensor in batch])
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
        with _capturable(self.optimizer):
            replay, loss = self.recorder.record(lambda: self.step(batch), self.generators)
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
            self.reason = _reason(func, tree_leaves((args, kwargs, result)))
        return result


def _reason(operation: Any, values: Sequence[Any]) -> str | None:
    if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(operation.tags):
        return f"{operation.overloadpacket} waits for the device"
    kinds = {value.device.type for value in values if isinstance(value, Tensor)}
    return f"{operation.overloadpacket} takes tensors of {' and '.join(sorted(kinds))}" if len(kinds) > 1 else None


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
    for callback in callbacks:
        if _is_stranger(callback):
            return f"the callback {type(callback).__name__} may change what a step computes"
    for each in module.modules():
        if each._forward_pre_hooks or each._forward_hooks or each._backward_hooks:
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
