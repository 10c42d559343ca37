"""Compiled steps: a recorded step as machine code, which a C++ compiler makes of its operations."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from aepretrain.console import print_line
from aepretrain.training.acceleration.step_function import StepFunction
from aepretrain.training.acceleration.tape import Operation
from aepretrain.training.acceleration.torch_internals import compile_function
from aepretrain.training.recovery.signals import stop_if_asked

CACHE = Path("~/.cache/aepretrain/compiled")
"""Compiled code, for steps of the same operations and shapes; ``TORCHINDUCTOR_CACHE_DIR`` names another folder."""
OPTIONS = {"cpp_wrapper": True, "compile_threads": 1}
"""One function of C++ for a step, compiled in this process."""
BEGUN = "{stage}  compiles its steps, in 5 to 20 s the first time; they then take about .6 of the time of recorded ones"
DONE = "{stage}  steps are compiled, after {seconds:.0f} s"
RECORDED = "{stage}  steps are recorded and not compiled: {reason}"

Compiler = Callable[[StepFunction, Sequence[Tensor]], Callable[..., Sequence[Tensor]]]


class CompiledStep:
    """A step in compiled code, which takes the place of a :class:`~aepretrain.training.acceleration.recorded.Recording`.

    Args:
        batch: The recorded batch.
        function: The step as a function.
        code: The function, compiled.
    """

    def __init__(self, batch: Sequence[Tensor], function: StepFunction, code: Callable[..., Sequence[Tensor]]) -> None:
        self.batch = batch
        self.function = function
        self.code = code

    def repeat(self, batch: Sequence[Tensor]) -> Tensor:
        """Take the step with another batch of the same shape; return its loss, before the update."""
        for recorded, tensor in zip(self.batch, batch, strict=True):
            recorded.copy_(tensor)
        self.function.prepare()
        loss, *factors = self.code(*self.function.inputs)
        for place, product in enumerate(self.function.products):
            product.add(factors[2 * place], factors[2 * place + 1])
        return loss


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch logs about compilers that are not asked for, such as that of CUDA."""
    log = logging.getLogger("torch.utils.cpp_extension")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def by_inductor(function: StepFunction, inputs: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """Compile a function with torch's compiler."""
    folder = Path(os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(CACHE.expanduser())))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _quiet():
        return compile_function(function, inputs, OPTIONS)


compiler: Compiler = by_inductor
"""What compiles a step."""


def compile_step(
    stage: str,
    batch: Sequence[Tensor],
    loss: Tensor,
    gradients: Sequence[Operation],
    update: Sequence[Operation],
    optimizer: Optimizer,
) -> CompiledStep | None:
    """Compile a recorded step, and print that it takes a while; if it cannot be, print why and return ``None``.

    Args:
        stage: Name of the stage.
        batch: The recorded batch.
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer.

    Raises:
        StoppedError: If a signal ended the compiler and asks the run to stop.
    """
    function = StepFunction(loss, gradients, update, optimizer)
    if function.reason is not None:
        print_line(RECORDED.format(stage=stage, reason=function.reason))
        return None
    print_line(BEGUN.format(stage=stage))
    start = time.perf_counter()
    try:
        code = compiler(function, function.inputs)
    # Whatever torch's compiler raises, the recorded step remains.
    except Exception as error:
        stop_if_asked(f"while {stage} compiled its steps")
        print_line(RECORDED.format(stage=stage, reason=f"{type(error).__name__}: {error}".splitlines()[0]))
        return None
    print_line(DONE.format(stage=stage, seconds=time.perf_counter() - start))
    return CompiledStep(batch, function, code)
