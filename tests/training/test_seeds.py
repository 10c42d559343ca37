"""Seeds and ranks differ where they must, and agree where they must."""

from itertools import combinations, product

import pytest
import torch
from lightning.fabric import Fabric

from aepretrain import (
    DenoisingAutoencoder,
    Dense,
    Digits,
    Experiment,
    GreedyStack,
    Pretraining,
    RunContext,
)
from aepretrain.data import Batches
from aepretrain.parts.noise import derive_seed
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage
from tests.support.watching import batches_of

CPU = torch.device("cpu")


def layer(shape):
    return DenoisingAutoencoder(shape, Dense(8))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def weights(stack):
    return [parameter for name, parameter in stack.named_parameters() if name.endswith("weight")]


def test_every_seed_begins_with_weights_of_its_own_and_always_with_the_same():
    experiments = [Experiment([layer, layer, layer], Digits(), seed=seed) for seed in (0, 0, 1, 2)]
    torch.rand(3)
    stacks = [weights(experiment.build_stack()) for experiment in experiments]
    assert same(stacks[0], stacks[1])
    for one, other in combinations((0, 2, 3), 2):
        assert not any(torch.equal(a, b) for a, b in zip(stacks[one], stacks[other], strict=True))
    second, third = stacks[0][2], stacks[0][4]
    assert not torch.equal(second, third)


def test_initial_weights_take_nothing_from_the_global_generator_and_leave_it_alone():
    before = torch.get_rng_state()
    stack = GreedyStack((6,), [layer], seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert same(stack.parameters(), GreedyStack((6,), [layer], seed=3).parameters())


@pytest.mark.parametrize(("use", "settings"), [("train", {"labels": 50}), ("unlabelled", {"unlabelled": 100})])
def test_every_seed_chooses_its_own_labelled_subset_and_pool(use, settings):
    data = Digits(**settings)

    def chosen(seed):
        examples = getattr(data.splits(seed), use)
        return {row.numpy().tobytes() for row in (examples if use == "unlabelled" else examples.x)}

    found = [chosen(seed) for seed in (0, 1, 2)]
    assert all(found[0] == chosen(0) for _ in range(2))
    for one, other in combinations(found, 2):
        assert one != other
        assert len(one) == len(other)


def test_the_pool_and_the_labelled_subset_of_a_seed_share_no_example():
    splits = Digits(labels=50, unlabelled=100).splits(1)
    pool = {row.numpy().tobytes() for row in splits.unlabelled}
    assert len(pool) == 100
    assert not any(row.numpy().tobytes() in pool for row in splits.train.x)


def test_validation_and_test_data_are_the_same_for_every_seed():
    data = Digits(labels=50, unlabelled=100)
    for name in ("validation", "test"):
        assert same(getattr(data.splits(0), name).tensors(), getattr(data.splits(1), name).tensors())


def test_every_seed_stage_and_epoch_has_an_order_of_its_own(monkeypatch):
    orders = {}
    for seed, stage in product((0, 1), ("00-a", "01-b")):
        seen = batches_of(monkeypatch)
        context = RunContext(seed=seed, progress=False)
        settings = StageSettings(stage, epochs=2, batch_size=10)
        x = torch.arange(30.0).reshape(30, 1)
        train_stage(layer((1,)), [x], [x], settings, context)
        rows = torch.cat([batch[0] for batch in seen[:6]]).flatten().tolist()
        orders |= {(seed, stage, 0): rows[:30], (seed, stage, 1): rows[30:]}
        monkeypatch.undo()
    assert all(sorted(order) == list(range(30)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 8
    for (seed, stage, epoch), order in orders.items():
        expected = Batches([torch.arange(30.0)], 10, seed=derive_seed(seed, stage))
        expected.sampler.set_epoch(epoch)
        assert torch.cat([batch[0] for batch in expected]).tolist() == order


def test_noise_is_new_for_every_seed_stage_epoch_step_and_rank_and_for_validation():
    drawn = {}
    for seed, stage, rank in product((0, 1), ("00-a", "01-b"), (0, 1)):
        noise = KeyedNoise(seed, stage, CPU, rank)
        for epoch, step in product((0, 1), (0, 1)):
            noise.key(epoch, step)
            drawn[seed, stage, rank, epoch, step] = noise.source().uniform_like(torch.zeros(4))
            noise.key(epoch, step)
            assert torch.equal(noise.source().uniform_like(torch.zeros(4)), drawn[seed, stage, rank, epoch, step])
        noise.key_validation()
        drawn[seed, stage, rank, "validation"] = noise.source().uniform_like(torch.zeros(4))
        noise.key_validation()
        assert torch.equal(noise.source().uniform_like(torch.zeros(4)), drawn[seed, stage, rank, "validation"])
    for one, other in combinations(drawn.values(), 2):
        assert not torch.equal(one, other)


def losses(rank, seed=0):
    """The history of a stage of a process of this rank, with the weights and the order of seed 0."""
    torch.manual_seed(0)
    x = torch.rand(30, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fabric, "global_rank", property(lambda fabric: rank))
        return train_stage(
            layer((6,)), [x], [x], StageSettings("00-a", 2, 30), RunContext(seed=seed, progress=False)
        ).history


def figures(history):
    return [{name: value for name, value in row.items() if name != "epoch_seconds"} for row in history]


def test_ranks_draw_noise_of_their_own_in_training_and_validation():
    alone, again, other = (figures(losses(rank)) for rank in (0, 0, 1))
    assert alone == again
    assert alone[0]["train/loss"] != other[0]["train/loss"]
    assert alone[0]["val/loss"] != other[0]["val/loss"]


def test_two_seeds_end_with_other_weights_and_one_seed_with_the_same():
    data, ends = Digits(labels=50), []
    for seed in (0, 0, 1):
        context = RunContext(seed=seed, progress=False)
        stack = Experiment([layer], data, seed=seed).build_stack().fit(data, Pretraining(1, 128), context)
        ends.append(list(stack.parameters()))
    assert same(ends[0], ends[1])
    assert not any(torch.equal(a, b) for a, b in zip(ends[0], ends[2], strict=True))
