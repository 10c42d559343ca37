"""The format ``pt2``: an encoder as a program of torch operators, which ``torch.export.load`` reads without us."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from aepretrain.export.module import Encoder
from aepretrain.export.traced import quiet, trace

FACTS = "aepretrain.json"
"""The file in the archive that describes inputs and outputs."""


def pack_pt2(encoder: Encoder, example: Tensor, facts: Mapping[str, Any]) -> bytes:
    """An encoder as the bytes of a ``.pt2`` file.

    Args:
        encoder: The encoder, on the CPU and in evaluation mode.
        example: At least two inputs, of the type that the program will take.
        facts: What describes inputs and outputs, in plain values: ``extra_files`` of ``torch.export.load`` has it.

    Example:
        >>> encoder = Encoder(Scale(255), nn.Linear(4, 2), (4,), (2,)).eval()
        >>> data = pack_pt2(encoder, torch.zeros(2, 4, dtype=torch.uint8), {"output": "codes"})
        >>> open_pt2(data)(torch.zeros(5, 4, dtype=torch.uint8)).shape
        torch.Size([5, 2])
    """
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(trace(encoder, example), buffer, extra_files={FACTS: json.dumps(facts)})
    return buffer.getvalue()


def open_pt2(data: bytes) -> Callable[[Tensor], Tensor]:
    """The program of a ``.pt2`` file as a function of its inputs."""
    with quiet():
        return torch.export.load(io.BytesIO(data)).module()
