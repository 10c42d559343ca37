from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed

from aepretrain import ConfigError, DataError
from aepretrain.data import Batches, batches


def pretend(patch, rank, size):
    """Let torch.distributed answer as it does in one of several processes."""
    patch.setattr(distributed, "is_initialized", lambda: True)
    patch.setattr(distributed, "get_rank", lambda: rank)
    patch.setattr(distributed, "get_world_size", lambda: size)


@pytest.fixture
def world(monkeypatch):
    return lambda rank, size: pretend(monkeypatch, rank, size)


def epoch(loader, number=0):
    loader.sampler.set_epoch(number)
    return [x.tolist() for (x,) in loader]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), shuffle=st.booleans())
def test_an_epoch_holds_every_example_once(count, batch_size, shuffle):
    loader = Batches([torch.arange(count)], batch_size, shuffle=shuffle)
    seen = epoch(loader)
    assert len(seen) == len(loader)
    assert sorted(chain(*seen)) == list(range(count))
    assert all(len(batch) <= batch_size for batch in seen)


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 90), batch_size=st.integers(1, 40), width=st.sampled_from([1, 4, 13, 16]),
    bytes_together=st.sampled_from([0, 1000, 5000, batches.GATHERED]), shuffle=st.booleans(),
)  # fmt: skip
def test_batches_gathered_together_are_those_gathered_alone(count, batch_size, width, bytes_together, shuffle):
    loader = Batches([torch.rand(count, width), torch.arange(count)], batch_size, shuffle=shuffle)
    order, shares = loader.order(), loader.shares()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "GATHERED", bytes_together)
        found = list(loader.gather_each(order, shares))
    for (begin, end), batch in zip(shares, found, strict=True):
        for one, other in zip(batch, loader.gather(order[begin:end]), strict=True):
            assert torch.equal(one, other)
            assert one.data_ptr() % batches.ALIGNED == 0


def test_small_batches_are_gathered_together(monkeypatch):
    loader, gathered, gather = Batches([torch.rand(100, 16)], 8), [], Batches.gather
    monkeypatch.setattr(Batches, "gather", lambda batches, rows: gathered.append(len(rows)) or gather(batches, rows))
    monkeypatch.setattr(batches, "GATHERED", 3 * 8 * 16 * 4)
    assert [len(x) for (x,) in loader] == [8] * 12 + [4]
    assert gathered == [24] * 4 + [4]


def test_the_order_is_a_function_of_seed_and_epoch():
    loaders = [Batches([torch.arange(30)], 7, seed=seed) for seed in (1, 1, 2)]
    torch.rand(5)
    assert epoch(loaders[0], 3) == epoch(loaders[1], 3)
    assert epoch(loaders[0], 3) != epoch(loaders[0], 4)
    assert epoch(loaders[0], 3) != epoch(loaders[2], 3)


def test_rows_of_all_tensors_stay_together():
    x = torch.arange(20)
    for a, b in Batches([x, 10 * x], 6):
        assert torch.equal(10 * a, b)


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [12, 13, 14, 15, 23])
def test_processes_share_every_batch_so_that_the_mean_of_weighted_means_is_that_of_the_batch(world, count, processes):
    whole = epoch(Batches([torch.arange(count)], 6, seed=5))
    shares, weights, own = [], [], []
    for rank in range(processes):
        world(rank, processes)
        batches = Batches([torch.arange(count)], 6, seed=5)
        shares.append(epoch(batches))
        weights.append([batches.weight(batch) for batch in range(len(batches))])
        own.append([batches.own_examples(batch) for batch in range(len(batches))])
    for k, batch in enumerate(whole):
        parts = [share[k] for share in shares]
        mine = [part if own[rank][k] else [] for rank, part in enumerate(parts)]
        assert list(chain(*mine)) == batch
        assert all(len(part) == own[rank][k] or part == batch for rank, part in enumerate(parts))
        means = [weights[rank][k] * sum(part) / len(part) for rank, part in enumerate(parts)]
        assert sum(means) / processes == pytest.approx(sum(batch) / len(batch))
    assert {len(share) for share in shares} == {len(whole)}


@settings(max_examples=50, deadline=None)
@given(count=st.integers(3, 40), batch_size=st.integers(1, 50))
def test_processes_together_validate_on_every_example_once_in_equally_many_batches(count, batch_size):
    with pytest.MonkeyPatch.context() as patch:
        shares = []
        for rank in range(3):
            pretend(patch, rank, 3)
            shares.append(epoch(Batches([torch.arange(count)], batch_size, shuffle=False)))
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)
    assert sorted(chain(*chain(*shares))) == list(range(count))


def test_bad_sizes_are_refused(world):
    with pytest.raises(ConfigError, match="batch_size must be >= 1, but got 0"):
        Batches([torch.arange(3)], 0)
    with pytest.raises(DataError, match="no examples"):
        Batches([torch.zeros(0, 3)], 4)
    world(0, 2)
    with pytest.raises(ConfigError, match="5 cannot be shared equally by 2"):
        len(Batches([torch.arange(30)], 5))
    with pytest.raises(DataError, match="1 examples cannot be shared by 2 processes"):
        len(Batches([torch.arange(1)], 4))
