import pytest
import torch

from aepretrain import Bernoulli, Gaussian, log_partition
from aepretrain.parts.noise import Noise
from tests.support.machines import binary_states, constant, gaussian_log_z, log_z, machine


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian()])
def test_log_z_is_within_a_tenth_of_a_nat_of_the_sum_over_all_states(likelihood):
    made = machine(8, 6, likelihood)
    exact = log_z(made) - constant(made) if likelihood == Bernoulli() else gaussian_log_z(made)
    found = log_partition(made, chains=200, steps=500, noise=Noise(torch.Generator().manual_seed(0)))
    assert abs(found.log_z - exact.item()) < 0.1
    assert abs(found.log_z - exact.item()) < 4 * found.standard_error < 0.4


def test_probabilities_by_the_estimate_add_up_to_one():
    made = machine(6, 4)
    found = log_partition(made, chains=200, steps=500, noise=Noise(torch.Generator().manual_seed(1)))
    total = (-made.free_energy(binary_states(6)) - found.log_z).exp().sum()
    assert total.item() == pytest.approx(1, abs=0.1)


def test_an_estimate_depends_on_the_noise_alone_and_leaves_the_machine_as_it_is():
    made = machine(persistent=3)
    before, state = made.state_dict(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in before.items()}
    one, other = (log_partition(made, chains=5, steps=9, noise=Noise(torch.Generator().manual_seed(2))) for _ in "ab")
    assert one == other
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize(("chains", "steps"), [(1, 10), (10, 0)])
def test_too_few_chains_or_steps_are_refused(chains, steps):
    with pytest.raises(ValueError, match=f"but got {chains} and {steps}"):
        log_partition(machine(), chains=chains, steps=steps)
