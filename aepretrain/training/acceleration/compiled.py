"""Compiled steps: a recorded step as machine code, which a C++ compiler makes of its operations."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from aepretrain.console import print_line
from aepretrain.errors import StorageError
from aepretrain.results.stage import StepMode
from aepretrain.storage.files import make_folder, storing
from aepretrain.training.acceleration.code_cache import CACHE, VARIABLE, code_folder, digest_of
from aepretrain.training.acceleration.step_function import StepFunction
from aepretrain.training.acceleration.tape import Operation
from aepretrain.training.acceleration.torch_internals import compile_graph, default_cache, traced
from aepretrain.training.options import StageSettings
from aepretrain.training.recovery.signals import stop_if_asked

OPTIONS = {
    "cpp_wrapper": True,
    "compile_threads": 1,
    "cpp.vec_isa_ok": True,
    "cpp_cache_precompile_headers": False,
}
"""A step is one function of C++, compiled in this process, without the 10 s that torch takes to try the compiler and to
compile its headers."""
LEAST_STEPS = 600_000
"""Twice the number of steps after which compiling has paid off."""
MOST_WEIGHTS = 100_000
"""With more, a step is bound by its matrix products, which are the same in compiled code."""
BEGUN = "{stage}  compiles steps, in 5 to 15 s the first time; they then take about 0.7 of the time of recorded ones"
DONE = "{stage}  steps are compiled, after {seconds:.0f} s"
RECORDED = "{stage}  steps are recorded and not compiled: {reason}"
FLAGS = ("CFLAGS", "CPATH", "CPPFLAGS", "CXXFLAGS", "LDFLAGS")
"""Variables that change what the C++ compiler makes."""

Compiler = Callable[[StepFunction, Sequence[Tensor]], Callable[..., Sequence[Tensor]]]


class CompiledStep:
    """A step in compiled code, in place of a :class:`~aepretrain.training.acceleration.recorded.Recording`.

    Args:
        batch: The recorded batch.
        function: The step as a function.
        code: The function, compiled.
    """

    mode: StepMode = "compiled"

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


def pays_off(settings: StageSettings, steps: int, weights: int) -> bool:
    """Whether the steps of a stage are so small and so many that compiling them clearly pays off.

    Compiling takes about ten seconds, and a compiled step of a small layer about 30 microseconds less than a recorded
    one. Both were measured once; the rule counts, so that a config decides alike on every machine. Fine-tuning is not
    compiled by this rule: epochs may be added later, and must not change those before.

    Args:
        settings: The length of the stage.
        steps: Its steps in an epoch.
        weights: The number of weights that are trained.

    Example:
        >>> short, long = (StageSettings("00-sparse", epochs=epochs, batch_size=20) for epochs in (20, 200))
        >>> pays_off(short, 3000, 33_000), pays_off(long, 3000, 33_000), pays_off(long, 3000, 1_570_000)
        (False, True, False)
    """
    is_long = settings.epochs * steps >= LEAST_STEPS
    return is_long and weights <= MOST_WEIGHTS and not settings.may_go_on


def reason_of_machine() -> str | None:
    """Why nothing can be compiled here; ``None`` if it can."""
    name = compiler_name()
    if shutil.which(name) is None:
        return f"there is no C++ compiler {name}. Install it, or name another by the environment variable CXX"
    try:
        make_folder(cache_folder())
        with storing(cache_folder(), 0), tempfile.TemporaryDirectory(dir=cache_folder()):
            return None
    except StorageError as error:
        return str(error)


def compiler_name() -> str:
    """The command of the C++ compiler, as torch finds it."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")


def cache_folder() -> Path:
    """The folder of compiled code: torch's own default is in ``/tmp``, where others might have put code before."""
    named = os.environ.get(VARIABLE)
    return CACHE.expanduser() if named in (None, default_cache()) else Path(named)


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
    """Compile a function with torch's compiler, or load the code that it made before."""
    graph = traced(function, inputs)
    kinds = [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in inputs]
    with _quiet(), code_folder(cache_folder(), digest_of(str(graph.graph), kinds, _machine(), OPTIONS)):
        return compile_graph(graph, inputs, OPTIONS)


def _machine() -> tuple[object, ...]:
    """What compiled code depends on beside the step: libraries and their place, the CPU, the compiler and its flags."""
    versions = (torch.__version__, sys.version_info[:2], sys.prefix)
    flags = [os.environ.get(name) for name in FLAGS]
    return *versions, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), compiler_name(), flags


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
