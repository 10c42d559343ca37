"""Random numbers that depend on a key alone, never on what was drawn before."""

import hashlib


def derive_seed(*key: int | str) -> int:
    """A seed for :class:`torch.Generator` that is a function of a key.

    Two keys that differ in one place give unrelated seeds, so that noise, batch order and initial weights may be
    drawn in any order, or again after a restart, without a change in any of them.

    Args:
        key: Numbers and words that name the place, such as ``(seed, "00-denoising", epoch, step, rank)``.

    Returns:
        A whole number in ``[0, 2**63)``.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 4)
        False
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
