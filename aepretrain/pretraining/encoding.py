"""Encode a whole data set with a finished layer."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from aepretrain.data.rows import Inputs, in_order

ENCODING_BATCH = 4096
ENCODING_BYTES = 4 << 20
"""Largest size of a batch's inputs in bytes, except that a batch has at least :data:`MIN_BATCH` examples."""
MIN_BATCH = 16


def encode_dataset(f: nn.Module, x: Inputs, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """Encode a whole data set, in full precision, without noise and without gradients.

    Args:
        f: Encoder ``(B, *in_shape) -> (B, *code_shape)``; it is set to evaluation mode and moved back to the CPU.
        x: Inputs, shape ``(N, *in_shape)``.
        device: Device that computes and holds the codes.
        dtype: Type in which the codes are kept.

    Returns:
        Codes, shape ``(N, *code_shape)``.

    Example:
        >>> encode_dataset(nn.Linear(4, 2), torch.rand(10, 4)).shape
        torch.Size([10, 2])
    """
    codes, filled = torch.empty(0), 0
    for part in encode_batches(f, x, device=device):
        if not filled:
            codes = torch.empty(len(x), *part.shape[1:], dtype=dtype, device=device)
        codes[filled : filled + len(part)] = part
        filled += len(part)
    return codes


def encode_batches(f: nn.Module, x: Inputs, *, device: str = "cpu") -> Iterator[Tensor]:
    """Encode a data set batch by batch: the same batches, hence the same bits, wherever the inputs are stored."""
    f.eval().to(device)
    row_bytes = x.shape[1:].numel() * 4
    for batch in in_order(x, max(MIN_BATCH, min(ENCODING_BATCH, ENCODING_BYTES // row_bytes))):
        with torch.no_grad():
            codes = f(batch.to(device))
        del batch  # frees its memory before the next batch is read
        yield codes
    f.cpu()
