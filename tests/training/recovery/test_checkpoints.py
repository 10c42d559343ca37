import errno
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback
from safetensors.torch import load_file

from aepretrain import ConfigError, DenoisingAutoencoder, Dense, RunContext, TrainerOptions
from aepretrain.errors import DivergedError, StoppedError, StorageError
from aepretrain.storage import files as storage
from aepretrain.training.options import Saving
from aepretrain.training.recovery import checkpoints, signals
from aepretrain.training.recovery.checkpoints import LAST, PREVIOUS, CheckpointFiles, newest_intact, plain
from aepretrain.training.recovery.run_state import RunState
from aepretrain.training.stage import train_stage
from tests.support.tape import record_steps

STAGE = "00-test"


@pytest.fixture
def files(tmp_path):
    state = RunState(tmp_path)
    state.begin(STAGE)
    return CheckpointFiles(state, STAGE)


def known(files):
    return files.state.stage(STAGE)["checkpoints"]


def save(files, folder, *numbers):
    for number in numbers:
        files.save_checkpoint({"number": number, "weights": torch.full((1000,), float(number))}, folder / LAST)


def test_the_previous_checkpoint_is_kept_and_both_are_recorded(files, tmp_path):
    save(files, tmp_path, 1, 2, 3)
    assert [files.load_checkpoint(tmp_path / name)["number"] for name in (LAST, PREVIOUS)] == [3, 2]
    assert [storage.sha256_of(tmp_path / name) for name in (LAST, PREVIOUS)] == known(files)[:2]
    assert newest_intact(tmp_path, known(files)) == tmp_path / LAST
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(damage, files, tmp_path, capsys):
    save(files, tmp_path, 1, 2)
    path, data = tmp_path / LAST, bytearray((tmp_path / LAST).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"empty": b"", "truncated": data[:-100], "flipped": data, "missing": b""}[damage])
    if damage == "missing":
        path.unlink()
    assert newest_intact(tmp_path, known(files)) == tmp_path / PREVIOUS
    assert ("last.ckpt is damaged" in capsys.readouterr().out.replace("\n", "")) == (damage != "missing")


def test_damage_to_all_checkpoints_is_an_error_and_none_at_all_is_not(files, tmp_path):
    assert newest_intact(tmp_path, []) is None
    save(files, tmp_path, 1, 2)
    for name in (LAST, PREVIOUS):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(StorageError, match=r"no checkpoint .* is what was written"):
        newest_intact(tmp_path, known(files))


@pytest.mark.parametrize("place", ["write", "record", "first move", "second move"])
def test_whenever_writing_is_interrupted_a_good_checkpoint_is_left(place, files, tmp_path, monkeypatch):
    save(files, tmp_path, 1, 2)

    def interrupt(*args):
        raise KeyboardInterrupt

    if place == "write":
        monkeypatch.setattr(storage.os, "fsync", interrupt)
    elif place == "record":
        monkeypatch.setattr(files.state, "expect_checkpoint", interrupt)
    else:
        moves, replace = [], storage.os.replace

        def move(source, target):
            if Path(target).suffix == ".ckpt":
                moves.append(target)
            if len(moves) > (place == "second move"):
                interrupt()
            replace(source, target)

        monkeypatch.setattr(checkpoints.os, "replace", move)
    with pytest.raises(KeyboardInterrupt):
        save(files, tmp_path, 3)
    monkeypatch.undo()
    assert files.load_checkpoint(newest_intact(tmp_path, known(files)))["number"] == 2
    assert [path.name for path in storage.sweep(tmp_path)] == ["last.ckpt.part"]


def test_a_full_disk_says_needed_and_free_and_leaves_the_previous_file(files, tmp_path, monkeypatch):
    save(files, tmp_path, 1)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device: [\d,]+ bytes needed, [\d,]+ free"):
        save(files, tmp_path, 2)
    monkeypatch.undo()
    assert files.load_checkpoint(newest_intact(tmp_path, known(files)))["number"] == 1
    assert not list(tmp_path.glob("*.part"))


def test_a_probe_tells_of_too_little_room_and_of_a_place_that_cannot_be_written(tmp_path):
    storage.probe(tmp_path, 1000)
    assert not list(tmp_path.iterdir())
    with pytest.raises(StorageError, match=r"about 1,000,000,000,000,000,000 bytes needed, [\d,]+ free"):
        storage.probe(tmp_path, 10**18)
    with pytest.raises(StorageError, match="cannot be written"):
        storage.probe(tmp_path / "missing", 1000)


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/aepretrain-was-here"),))


@pytest.mark.parametrize("write", [lambda path: torch.save({"x": Hostile()}, path), lambda path: path.write_bytes(
    pickle.dumps(Hostile())), lambda path: path.write_bytes(b"no checkpoint")])  # fmt: skip
def test_nothing_but_plain_values_is_read_even_where_the_sum_is_right(write, files, tmp_path):
    write(tmp_path / LAST)
    files.state.expect_checkpoint(STAGE, storage.sha256_of(tmp_path / LAST))
    assert newest_intact(tmp_path, known(files)) is not None
    with pytest.raises(StorageError, match="no checkpoint of plain values"):
        files.load_checkpoint(tmp_path / LAST)
    assert not Path("/tmp/aepretrain-was-here").exists()


def test_what_is_not_plain_is_refused_when_it_is_written(files, tmp_path):
    kept = plain({"a": np.float32(0.5), "b": (1, None, True), "c": [torch.ones(2)], 3: "x"}, "state")
    assert (type(kept["a"]), kept["b"], kept[3]) == (float, (1, None, True), "x")
    with pytest.raises(ConfigError, match=r"checkpoint\.path is a PosixPath"):
        files.save_checkpoint({"path": tmp_path}, tmp_path / LAST)


@pytest.mark.parametrize("values", [{"every_minutes": 0}, {"every_minutes": -1.0}, {"every_steps": 0}])
def test_intervals_that_are_not_positive_are_refused(values):
    with pytest.raises(ConfigError, match=r"checkpoint\.every_"):
        Saving(**values)


class Each(Callback):
    """Do something at the start of a batch."""

    def __init__(self, do):
        self.do = do

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.do(trainer, pl_module)


def model(seed=0):
    torch.manual_seed(seed)
    return DenoisingAutoencoder((6,), Dense(4))


def train(module, out=None, *, epochs=3, do=None, x=None, dispatch=1, **context):
    clean = torch.rand(50, 6, generator=torch.Generator().manual_seed(1))
    x = clean if x is None else x
    context = RunContext(out=out, progress=False, callbacks=[Each(do)] if do else [], **context)
    context = replace(context, trainer=TrainerOptions(dispatch=dispatch))
    return train_stage(
        module, [x], [clean], context, stage=STAGE, epochs=epochs, batch_size=16, monitor="val/reconstruction"
    )


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("step", range(12))
def test_a_stage_that_is_stopped_at_any_step_ends_with_the_same_bits(step, recorded, tmp_path, monkeypatch):
    undisturbed = model()
    record = train(undisturbed, tmp_path / "golden")
    if recorded:
        record_steps(monkeypatch)

    def ask(trainer, pl_module):
        if trainer.global_step == step - 1:
            monkeypatch.setattr(signals, "_received", 15)

    if step == 0:
        monkeypatch.setattr(signals, "_received", 15)
    with pytest.raises(StoppedError, match="stopped by SIGTERM"):
        train(model(), tmp_path / "run", do=ask)
    monkeypatch.setattr(signals, "_received", 0)
    resumed = model(seed=7) if step else model()  # what the weights were before does not matter
    again = train(resumed, tmp_path / "run", resume=True)
    for one, other in zip(undisturbed.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    timeless = [[{**row, "epoch_seconds": 0} for row in each.history] for each in (record, again)]
    assert timeless[0] == timeless[1]
    assert (again.steps, again.epochs) == (record.steps, record.epochs) == (12, 3)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(1, 6), second=st.integers(1, 6) | st.none(), every=st.integers(1, 6))
def test_a_stage_goes_on_with_dispatches_of_another_length(first, second, every, tmp_path):
    undisturbed, out = model(), tmp_path / f"{first}-{second}-{every}"
    shutil.rmtree(out, ignore_errors=True)
    record = train(undisturbed)
    saving, seen = Saving(every_minutes=None, every_steps=every), []

    def die(trainer, module):
        seen.append(trainer.global_step)
        if trainer.global_step > 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(model(), out, dispatch=first, saving=saving, do=die)
    assert {step for step in range(1, seen[-1]) if step % every == 0} <= set(seen)
    again = train(model(seed=7), out, dispatch=second, saving=saving, resume=True)
    assert torch.equal(undisturbed.f[0].weight, resumed_weights(out))
    timeless = [[{**row, "epoch_seconds": 0} for row in each.history] for each in (record, again)]
    assert timeless[0] == timeless[1]


def resumed_weights(out):
    return load_file(out / "stages" / STAGE / "model.safetensors")["f.0.weight"]


def test_saves_follow_steps_and_the_clock(tmp_path, monkeypatch):
    saved = []
    save = CheckpointFiles.save_checkpoint

    def watched(self, checkpoint, path, **kwargs):
        saved.append(checkpoint["global_step"])
        save(self, checkpoint, path, **kwargs)

    monkeypatch.setattr(CheckpointFiles, "save_checkpoint", watched)
    train(model(), tmp_path / "steps", saving=Saving(every_minutes=None, every_steps=5))
    assert saved == [5, 10]
    saved.clear()
    train(model(), tmp_path / "clock", saving=Saving(every_minutes=1e-9))
    assert saved == list(range(1, 12))
    saved.clear()
    train(model(), tmp_path / "default")
    assert saved == []


def test_a_finished_stage_is_taken_from_its_files_and_they_are_checked(tmp_path):
    trained, loaded = model(), model(seed=3)
    record = train(trained, tmp_path)
    again = train(loaded, tmp_path, resume=True, do=lambda *_: pytest.fail("it trained"))
    assert again == record
    assert torch.equal(trained.f[0].weight, loaded.f[0].weight)
    path = tmp_path / "stages" / STAGE / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(StorageError, match="is missing or is not what was written"):
        train(model(), tmp_path, resume=True)


def poisoned(row):
    x = torch.rand(500, 6, generator=torch.Generator().manual_seed(1))
    x[row] = float("nan")
    return x


def test_a_loss_that_is_not_finite_stops_the_epoch_and_names_step_and_examples(tmp_path):
    seen = []
    with pytest.raises(DivergedError, match=r"00-test: the loss of epoch 1, step (\d+), is nan\. Lower the learning"):
        train(model(), tmp_path, x=poisoned(77), do=lambda trainer, _: seen.append(trainer.global_step))
    told = json.loads((tmp_path / "stages" / STAGE / "diverged.json").read_text())
    assert 77 in told["examples"]
    assert told["epoch"] == 0
    assert told["step"] == told["batch"]
    assert max(seen) < 50


def test_no_checkpoint_holds_numbers_that_are_not_finite(tmp_path):
    def blow_up(trainer, module):
        if trainer.global_step == 7:
            module.f[0].weight.data.fill_(float("inf"))

    with pytest.raises(DivergedError, match="step 7"):
        train(model(), tmp_path, do=blow_up, saving=Saving(every_steps=4))
    kept = torch.load(tmp_path / "stages" / STAGE / LAST, weights_only=True)
    assert kept["global_step"] == 4
    assert all(tensor.isfinite().all() for tensor in kept["state_dict"].values())


def test_skipping_leaves_out_the_update_and_counts(tmp_path):
    skipping = model()
    record = train(skipping, tmp_path, x=poisoned(77), on_nan="skip", epochs=1)
    assert record.skipped_steps == 1
    assert all(parameter.isfinite().all() for parameter in skipping.parameters())
    assert np.isfinite(record.history[0]["train/loss"])


def test_listening_remembers_a_signal_and_gives_the_handlers_back():
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with signals.listening():
        assert signals.received() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received() == signal.SIGTERM
        with pytest.raises(StoppedError, match="stopped by SIGTERM before 01-sparse") as stopped:
            signals.stop_if_asked("before 01-sparse")
        assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_damaged_state_is_an_error(tmp_path):
    state = RunState(tmp_path)
    assert state.status == "new"
    for text in ("{", "[]", '{"stages": 3}'):
        state.path.write_text(text)
        with pytest.raises(StorageError, match=r"state\.json"):
            state.read()


def test_the_state_tells_how_a_run_ended(tmp_path):
    state = RunState(tmp_path)
    for error, status in (
        (StoppedError("", 15), "stopped"), (DivergedError(), "diverged"), (ValueError(), "failed"), (None, "finished"),
    ):  # fmt: skip
        try:
            with state.following():
                assert state.status == "running"
                if error:
                    raise error
        except type(error):
            pass
        assert state.status == status
