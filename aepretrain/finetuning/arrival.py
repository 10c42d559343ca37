"""Check that a head holds the pretrained weights before its first step, bit for bit."""

from torch import Tensor, nn

from aepretrain.data.rows import byte_view
from aepretrain.errors import AEPretrainError
from aepretrain.heads.base import Head


def check_arrival(head: Head, pretrained: nn.Module) -> None:
    """Compare the encoder of a head with the pretrained one: names, shapes, types and every bit.

    Raises:
        AEPretrainError: If a tensor is missing or unexpected, or differs in shape, type or any bit.

    Example:
        >>> from aepretrain import Classifier
        >>> encoder = nn.Linear(4, 3)
        >>> check_arrival(Classifier(encoder, num_classes=2), encoder)
    """
    expected, found = pretrained.state_dict(), head.encoder.state_dict()
    missing = expected.keys() ^ found.keys()
    differing = [name for name in expected.keys() & found.keys() if not _equal_bits(expected[name], found[name])]
    if missing or differing:
        raise AEPretrainError(
            "the pretrained weights did not arrive in the classifier: "
            f"{', '.join(sorted([*missing, *differing]))} differ before the first step. "
            "Build the classifier on stack.encoder and do not initialize it again."
        )


def _equal_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal bit for bit; 0 and -0 are not."""
    same_kind = one.shape == other.shape and one.dtype == other.dtype
    return same_kind and bool((byte_view(one).cpu() == byte_view(other).cpu()).all())
