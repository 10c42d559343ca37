"""What is read of torch's private names: operations below autograd, their signatures, registered hooks, the compiler.

torch has no public way to see the operations that a step consists of. Nothing here is written to or replaced.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "ADD_TO_EACH",
    "TorchDispatchMode",
    "arguments_of",
    "compile_graph",
    "default_cache",
    "fused_update",
    "has_hooks",
    "has_memory",
    "kernel_of",
    "traced",
]

ADD_TO_EACH = torch.ops.aten._foreach_add_.Scalar
"""Adds a number to each of several tensors in place."""
HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_post_accumulate_grad_hooks",
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
)


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor lies in memory: forward-mode differentiation uses tensors of zeros and of shapes that do not."""
    return tensor.device.type != "meta" and not tensor._is_zerotensor()


def arguments_of(operation: Any) -> Any:
    """The declared arguments of an overload of ``torch.ops``: name, type, whether it is written to or returned."""
    return operation._schema.arguments


def kernel_of(operation: Any) -> Any:
    """What an overload of ``torch.ops`` calls: the same, without a microsecond of Python."""
    return operation._op


def fused_update(operation: Any) -> Any:
    """The function that calls the kernel of a fused optimizer in half the time of its overload of ``torch.ops``."""
    return getattr(torch, operation.name().removeprefix("aten::"))


def has_hooks(owner: Any) -> bool:
    """Whether a module, a parameter or an optimizer has hooks that are not ours."""
    hooks = [hook for kind in HOOKS for hook in (getattr(owner, kind, None) or {}).values()]
    return any(not str(getattr(hook, "__module__", "")).startswith("aepretrain.") for hook in hooks)


def traced(function: Any, inputs: Sequence[Tensor]) -> Any:
    """The operations of a function as a graph, found on tensors without values."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function, tracing_mode="fake")(*inputs)


def compile_graph(graph: Any, inputs: Sequence[Tensor], options: Mapping[str, Any]) -> Any:
    """Compile a graph, which may change its inputs in place, for tensors of these shapes.

    ``torch.compile`` would check at every call that its inputs are what they were: ours stay where they are, and these
    checks take as long as a small step.
    """
    from torch._inductor import compile as compile_by_inductor

    return compile_by_inductor(graph, list(inputs), dict(options))


def default_cache() -> str:
    """The folder in which torch keeps compiled code; it names it in the environment even if nobody chose it."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    return str(default_cache_dir())
