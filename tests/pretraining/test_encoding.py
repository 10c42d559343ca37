"""Encoding a data set: batches of bounded size, in evaluation mode, without gradients."""

import pytest
import torch
from torch import nn

from aepretrain.pretraining.encoding import encode_batches, encode_dataset


class Looks(nn.Module):
    """The first value of every example; remembers how it was asked."""

    def __init__(self):
        super().__init__()
        self.weight, self.asked = nn.Parameter(torch.ones(1)), []

    def forward(self, x):
        self.asked.append((len(x), self.training, torch.is_grad_enabled()))
        return x.flatten(1)[:, :1] * self.weight


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((5000, 6), [4096, 904]),
        ((600, 4096), [256, 256, 88]),  # 4 MiB of float32
        ((600, 64, 64), [256, 256, 88]),
        ((40, 1 << 20), [16, 16, 8]),
    ],
)
def test_batches_hold_four_mebibytes_or_the_bounds_of_their_number(shape, sizes):
    f, x = Looks(), torch.arange(float(shape[0])).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
    codes = encode_dataset(f.train(), x)
    assert f.asked == [(size, False, False) for size in sizes]
    assert torch.equal(codes, torch.arange(float(shape[0])).unsqueeze(1))
    assert [len(batch) for batch in encode_batches(f, x)] == sizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_codes_have_the_type_that_is_asked_for_and_no_graph(dtype):
    x = torch.rand(10, 4)
    codes = encode_dataset(nn.Linear(4, 2), x, dtype=dtype)
    assert (codes.dtype, codes.shape, codes.requires_grad) == (dtype, (10, 2), False)
    assert encode_dataset(nn.Linear(4, 2), x).dtype == torch.float32


def test_of_no_examples_there_are_no_codes():
    assert len(encode_dataset(nn.Linear(4, 2), torch.empty(0, 4))) == 0


def test_gradients_are_on_again_between_two_batches():
    for _ in encode_batches(Looks(), torch.rand(5000, 6)):
        assert torch.is_grad_enabled()
