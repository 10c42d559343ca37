"""The training state: a checkpoint holds all that decides how a stage goes on, and takes nothing else."""

import time

import pytest
import torch
from torch.amp import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from aepretrain import Dense, PlainAutoencoder
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.devices import build_fabric
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.options import TrainerOptions
from aepretrain.training.state import TrainingState, check_count

X = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def fabric():
    return build_fabric(**TrainerOptions(accelerator="cpu").for_fabric())


def state(fabric, *, scheduled=True, scaled=True, keeps=True, features=4):
    module = PlainAutoencoder((6,), Dense(features))
    optimizer = SGD(module.parameters(), lr=0.1, momentum=0.9)
    return TrainingState(
        module,
        optimizer,
        StepLR(optimizer, 1, 0.5) if scheduled else None,
        GradScaler("cpu", init_scale=8.0) if scaled else None,
        EpochLog("00-x", [], fabric),
        BestWeights("val/loss", "min", keeps=keeps),
    )


def advanced(found):
    """Take a step and close an epoch."""
    loss = found.module.energy(X).mean()
    loss.backward()
    found.optimizer.step()
    found.log.add(loss.detach().reshape(1), [8], 0.5)
    if found.scheduler is not None:
        found.scheduler.step()
    if found.scaler is not None:
        found.scaler.scale(torch.ones(()))
    validated = {"val/loss": torch.tensor(0.25)}
    found.log.close_epoch(0, 0, validated)
    found.best.update(found.module, validated, 0)
    found.log.add(torch.tensor([3.0]), [8], 0.5)
    found.step_mode, found.step_modes["recorded"] = "recorded", 5
    found.epoch, found.position, found.step, found.skipped, found.seconds_before = 1, 2, 5, 3, 100.0
    return found


@pytest.mark.parametrize(("scheduled", "scaled"), [(True, True), (False, True), (True, False), (False, False)])
def test_a_state_goes_on_from_its_checkpoint(fabric, scheduled, scaled):
    saved = advanced(state(fabric, scheduled=scheduled, scaled=scaled)).state_dict()
    assert 100 <= saved["seconds"] < 130
    again = state(fabric, scheduled=scheduled, scaled=scaled)
    again.load_state_dict(saved)
    found = again.state_dict()
    assert 100 <= found["seconds"] < 130
    assert (again.epoch, again.position, again.step, again.skipped) == (1, 2, 5, 3)
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 if scheduled else 0.1)
    assert len(again.optimizer.state) == 4
    assert found["step_mode"] == "recorded"
    for key in saved.keys() - {"seconds", "step_mode"}:
        torch.testing.assert_close(found[key], saved[key], rtol=0, atol=0, msg=key)
    assert (found["scheduler"] is None, found["scaler"] is None) == (not scheduled, not scaled)


def test_the_clock_of_a_stage_leaves_interruptions_out(fabric):
    found = state(fabric)
    assert (found.epoch, found.position, found.step, found.skipped, found.seconds_before) == (0, 0, 0, 0, 0.0)
    time.sleep(0.02)
    assert 0.02 <= found.seconds < 20
    found.seconds_before = 1000.0
    assert 1000.02 <= found.seconds < 1020


@pytest.mark.parametrize(("keeps", "kept"), [(True, 0), (False, 1)])
def test_a_record_names_the_epoch_whose_weights_were_kept(fabric, keeps, kept):
    found = advanced(state(fabric, keeps=keeps))
    found.log.close_epoch(1, 5, {"val/loss": torch.tensor(0.5)})
    record = found.record("00-x", fabric)
    assert (record.stage, record.epochs, record.kept_epoch, record.steps) == ("00-x", 2, kept, 5)
    assert (record.device, record.processes, record.skipped_steps) == ("cpu", 1, 3)
    assert record.history is found.log.history
    assert 100 <= record.seconds < 130


@pytest.mark.parametrize("name", ["epoch", "position", "global_step", "skipped"])
@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1"])
def test_counts_of_a_checkpoint_must_count(fabric, name, value):
    saved = {**advanced(state(fabric)).state_dict(), name: value}
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number >= 0, but is"):
        state(fabric).load_state_dict(saved)
    assert check_count(name, 0) == 0


@pytest.mark.parametrize("values", [{"step_mode": "guessed"}, {"step_modes": {"guessed": 1}}])
def test_modes_of_steps_in_a_checkpoint_must_be_known(fabric, values):
    saved = advanced(state(fabric)).state_dict()
    with pytest.raises(ValueError, match="a mode of steps must be launched, recorded, compiled, but is 'guessed'"):
        state(fabric).load_state_dict({**saved, **values})


@pytest.mark.parametrize("count", [-1, 1.5])
def test_so_must_be_their_counts(fabric, count):
    saved = advanced(state(fabric)).state_dict()
    with pytest.raises(ValueError, match="recorded must be a whole number"):
        state(fabric).load_state_dict({**saved, "step_modes": {"recorded": count}})


def test_the_best_weights_must_be_those_of_the_module(fabric):
    saved = advanced(state(fabric)).state_dict()
    other = advanced(state(fabric, features=5)).state_dict()
    with pytest.raises(ValueError, match="the weights of the best epoch are those of another module"):
        state(fabric).load_state_dict({**saved, "best": other["best"]})
    state(fabric).load_state_dict({**saved, "best": {**saved["best"], "weights": {}}})
