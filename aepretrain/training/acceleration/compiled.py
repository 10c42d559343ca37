"""Compiled steps: blocks of recorded steps as machine code, which a C++ compiler makes of their operations."""

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

from aepretrain.console import busy, print_line
from aepretrain.errors import StorageError
from aepretrain.storage.files import make_folder, storing
from aepretrain.training.acceleration.block_function import BlockFunction
from aepretrain.training.acceleration.code_cache import CACHE, VARIABLE, code_folder, digest_of
from aepretrain.training.acceleration.products import may_update_products
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
"""A block is one function of C++, compiled in this process, without the 10 s that torch takes to try the compiler and
to compile its headers."""
BLOCK = 8
"""Steps of a block. They share the overhead of a call; more of them would take longer to compile."""
LEAST_STEPS = 600_000
"""Twice the number of steps after which compiling for fifteen seconds has paid off."""
MOST_WEIGHTS = 100_000
"""With more, a step is bound by its matrix products, which are the same in compiled code."""
BEGUN = "{stage}  compiles steps, in 10 to 30 s the first time; they then take about 0.6 of the time of recorded ones"
DONE = "{stage}  steps are compiled, after {seconds:.0f} s"
RECORDED = "{stage}  steps are recorded and not compiled: {reason}"
FLAGS = ("CFLAGS", "CPATH", "CPPFLAGS", "CXXFLAGS", "LDFLAGS")
"""Variables that change what the C++ compiler makes."""

Compiler = Callable[[BlockFunction, Sequence[Tensor]], Callable[..., Sequence[Tensor]]]


class CompiledBlock:
    """A block of steps in compiled code.

    A step is prepared when its turn comes, and taken with the last one of its block: :meth:`take` returns a loss that
    is filled in by then.

    Args:
        function: The block as a function.
        code: The function, compiled.

    Attributes:
        prepared: How many steps of the present block are prepared.
    """

    def __init__(self, function: BlockFunction, code: Callable[..., Sequence[Tensor]]) -> None:
        self.function = function
        self.code = code
        self.prepared = 0
        self._losses = torch.empty(0)

    def take(self, batch: Sequence[Tensor]) -> Tensor:
        """Take the next step of the block with a batch of the recorded shape.

        Returns:
            Its loss, before its update, once the block is complete.
        """
        function, step = self.function, self.prepared
        if step == 0:
            self._losses = torch.empty(function.steps, *function.loss.shape, dtype=function.loss.dtype)
        function.prepare(batch, step)
        self.prepared = (step + 1) % function.steps
        if self.prepared == 0:
            losses, *factors = self.code(*function.inputs)
            self._losses.copy_(losses)
            for number, product in enumerate(function.products):
                product.add(factors[2 * number], factors[2 * number + 1])
        return self._losses[step]


def block_length(optimizer: Optimizer) -> int:
    """The number of steps of a compiled block.

    Example:
        >>> block_length(torch.optim.Adam([torch.zeros(2)]))
        8
    """
    return 1 if may_update_products(optimizer) else BLOCK


def pays_off(settings: StageSettings, steps: int, weights: int) -> bool:
    """Whether the steps of a stage are so small and so many that compiling them clearly pays off.

    Compiling takes about fifteen seconds, and a compiled step of a small layer about 50 microseconds less than a
    recorded one. Both were measured once; the rule counts, so that a config decides alike on every machine. Fine-tuning
    is not compiled by this rule: epochs may be added later, and must not change those before.

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


def by_inductor(function: BlockFunction, inputs: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
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
"""What compiles a block."""


def compile_block(
    stage: str,
    batch: Sequence[Tensor],
    loss: Tensor,
    gradients: Sequence[Operation],
    update: Sequence[Operation],
    optimizer: Optimizer,
) -> CompiledBlock | None:
    """Compile a block of recorded steps, and print that it takes a while, or why it cannot be done.

    Args:
        stage: Name of the stage.
        batch: The recorded batch.
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer.

    Returns:
        The block; ``None`` if it could not be compiled.

    Raises:
        StoppedError: If a signal ended the compiler and asks the run to stop.
    """
    function = BlockFunction(batch, loss, gradients, update, optimizer, block_length(optimizer))
    if function.reason is not None:
        print_line(RECORDED.format(stage=stage, reason=function.reason))
        return None
    print_line(BEGUN.format(stage=stage))
    start = time.perf_counter()
    try:
        with busy(f"{stage}  compiling"):
            code = compiler(function, function.inputs)
    # Whatever torch's compiler raises, the recorded step remains.
    except Exception as error:
        stop_if_asked(f"while {stage} compiled its steps")
        print_line(RECORDED.format(stage=stage, reason=f"{type(error).__name__}: {error}".splitlines()[0]))
        return None
    print_line(DONE.format(stage=stage, seconds=time.perf_counter() - start))
    return CompiledBlock(function, code)
