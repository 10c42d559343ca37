import errno
import json
import pickle
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.optim import SGD, Adam

from aepretrain import Classifier, ConfigError, Conv, DenoisingAutoencoder, Dense, Regressor, RunContext, TrainerOptions
from aepretrain.errors import DivergedError, StoppedError, StorageError
from aepretrain.storage import files as storage
from aepretrain.storage.plain_values import plain
from aepretrain.training.acceleration import compiled, products, recordable
from aepretrain.training.acceleration.block_function import BlockFunction
from aepretrain.training.options import Saving, StageSettings
from aepretrain.training.recovery import checkpoints, signals
from aepretrain.training.recovery.checkpoints import Checkpoints, newest_intact, read_checkpoint
from aepretrain.training.recovery.run_state import LAST, PREVIOUS, RunState
from aepretrain.training.recovery.stage_files import StageFiles
from aepretrain.training.stage import train_stage
from tests.support.compiling import BLOCK, uncompiled
from tests.support.variants import LAYERS, make
from tests.support.watching import before_chunks

STAGE = "00-test"


@pytest.fixture
def files(tmp_path):
    files = StageFiles(tmp_path, STAGE)
    files.begin(resume=False)
    return files


@pytest.fixture
def folder(files):
    return files.folder


def known(files):
    return files.state.stage(STAGE)["checkpoints"]


def save(files, *numbers):
    for number in numbers:
        Checkpoints(files).save({"number": number, "weights": torch.full((1000,), float(number))})


def test_the_previous_checkpoint_is_kept_and_both_are_recorded(files, folder):
    save(files, 1, 2, 3)
    assert [read_checkpoint(folder / name)["number"] for name in (LAST, PREVIOUS)] == [3, 2]
    assert [storage.sha256_of(folder / name) for name in (LAST, PREVIOUS)] == known(files)[:2]
    assert newest_intact(folder, known(files)) == folder / LAST
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(damage, files, folder, capsys):
    save(files, 1, 2)
    path, data = folder / LAST, bytearray((folder / LAST).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"empty": b"", "truncated": data[:-100], "flipped": data, "missing": b""}[damage])
    if damage == "missing":
        path.unlink()
    assert newest_intact(folder, known(files)) == folder / PREVIOUS
    assert ("last.ckpt is damaged" in capsys.readouterr().out.replace("\n", "")) == (damage != "missing")


def test_damage_to_all_checkpoints_is_an_error_and_none_at_all_is_not(files, folder):
    assert newest_intact(folder, []) is None
    save(files, 1, 2)
    for name in (LAST, PREVIOUS):
        (folder / name).write_bytes(b"")
    with pytest.raises(StorageError, match=r"no checkpoint .* is what was written"):
        newest_intact(folder, known(files))


@pytest.mark.parametrize("place", ["write", "record", "first move", "second move"])
def test_whenever_writing_is_interrupted_a_good_checkpoint_is_left(place, files, folder, monkeypatch):
    save(files, 1, 2)

    def interrupt(*args):
        raise KeyboardInterrupt

    if place == "write":
        monkeypatch.setattr(storage.os, "fsync", interrupt)
    elif place == "record":
        monkeypatch.setattr(files.state, "record_checkpoint", interrupt)
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
        save(files, 3)
    monkeypatch.undo()
    assert read_checkpoint(newest_intact(folder, known(files)))["number"] == 2
    assert [(path.name[:10], path.suffix) for path in storage.sweep(folder)] == [("last.ckpt.", ".part")]


def test_a_full_disk_says_needed_and_free_and_leaves_the_previous_file(files, folder, monkeypatch):
    save(files, 1)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device: [\d,]+ bytes needed, [\d,]+ free"):
        save(files, 2)
    monkeypatch.undo()
    assert read_checkpoint(newest_intact(folder, known(files)))["number"] == 1
    assert not list(folder.glob("*.part"))


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
def test_nothing_but_plain_values_is_read_even_where_the_sum_is_right(write, files, folder):
    write(folder / LAST)
    files.state.record_checkpoint(STAGE, storage.sha256_of(folder / LAST))
    assert newest_intact(folder, known(files)) is not None
    with pytest.raises(StorageError, match="no checkpoint of plain values"):
        read_checkpoint(folder / LAST)
    assert not Path("/tmp/aepretrain-was-here").exists()


def test_what_is_not_plain_is_refused_when_it_is_written(files, folder):
    kept = plain({"a": np.float32(0.5), "b": (1, None, True), "c": [torch.ones(2)], 3: "x"}, "state")
    assert (type(kept["a"]), kept["b"], kept[3]) == (float, (1, None, True), "x")
    with pytest.raises(ConfigError, match=r"checkpoint\.path is a PosixPath"):
        Checkpoints(files).save({"path": folder})


@pytest.mark.parametrize("values", [{"every_minutes": 0}, {"every_minutes": -1.0}, {"every_steps": 0}])
def test_intervals_that_are_not_positive_are_refused(values):
    with pytest.raises(ConfigError, match=r"checkpoint\.every_"):
        Saving(**values)


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


def model(seed=0, optimizer=Adam):
    return seeded(partial(DenoisingAutoencoder, (6,), Dense(4), optimizer=optimizer), seed)


def train(module, out=None, *, epochs=3, x=None, chunk_steps=1, precision="32-true", steps="auto", **context):
    clean = torch.rand(50, 6, generator=torch.Generator().manual_seed(1))
    x = clean if x is None else x
    trainer = TrainerOptions(chunk_steps=chunk_steps, precision=precision, steps=steps)
    context = RunContext(out=out, progress=False, trainer=trainer, **context)
    targets = [clean.sum(dim=1) * 30 + 200] if isinstance(module, Regressor) else []
    targets = [(clean.sum(dim=1) > 3).long()] if isinstance(module, Classifier) else targets
    if targets:
        module.fit_targets(targets[0])
    return train_stage(module, [x, *targets], [clean, *targets], StageSettings(STAGE, epochs, 16), context)


def make_head(name):
    encoder = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh()))
    return (Regressor if name == "regressor" else partial(Classifier, num_classes=2))(encoder, dropout=0.2)


def check_that_it_goes_on(build, step, undisturbed, folder, **options):
    """Stop a stage before a step by SIGTERM, resume it, and compare it with one that nothing disturbed."""
    module, record = undisturbed
    with pytest.MonkeyPatch.context() as patch:
        before_chunks(patch, lambda state: state.step == step and patch.setattr(signals, "_received", 15))
        with pytest.raises(StoppedError, match=f"stopped by SIGTERM in {STAGE} before step {step}, which is saved"):
            train(build(), folder, **options)
    resumed = build(seed=7 if step else 0)  # what the weights were before does not matter
    again = train(resumed, folder, resume=True, **options)
    for one, other in zip(module.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    timeless = [[{**row, "epoch_seconds": 0} for row in each.history] for each in (record, again)]
    assert timeless[0] == timeless[1]
    assert (again.steps, again.epochs) == (record.steps, record.epochs) == (12, 3)


def test_a_stage_that_is_stopped_at_any_step_ends_with_the_same_bits(tmp_path):
    whole = model()
    record = train(whole, tmp_path / "golden")
    for step in range(12):
        check_that_it_goes_on(model, step, (whole, record), tmp_path / f"run-{step}")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", LAYERS)
def test_so_does_every_variant(name, precision, tmp_path):
    build = partial(seeded, partial(make, name))
    whole = build()
    record = train(whole, precision=precision)
    check_that_it_goes_on(build, 7, (whole, record), tmp_path, precision=precision)


def test_so_do_tied_convolutions(tmp_path):
    build = partial(seeded, partial(make, "denoising-masking", coder=Conv(2, hidden=(3,), tied=True)))
    whole = build()
    record = train(whole)
    check_that_it_goes_on(build, 7, (whole, record), tmp_path)


@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_so_does_every_head(name, tmp_path):
    build = partial(seeded, partial(make_head, name))
    whole = build()
    record = train(whole)
    check_that_it_goes_on(build, 7, (whole, record), tmp_path)


def test_so_does_plain_sgd_with_updates_by_products(tmp_path, monkeypatch):
    """They round in their own way, so the first step after resuming must take them, too."""
    monkeypatch.setattr(products, "SMALLEST", 24)
    build = partial(model, optimizer=partial(SGD, lr=0.1))
    whole = build()
    record = train(whole)
    for step in (1, 3, 5):
        check_that_it_goes_on(build, step, (whole, record), tmp_path / f"run-{step}")


@pytest.mark.parametrize("optimizer", [Adam, partial(SGD, lr=0.1, momentum=0.9), partial(SGD, lr=0.1)])
def test_so_do_compiled_steps_at_every_end_of_a_block(optimizer, tmp_path, monkeypatch):
    uncompiled(monkeypatch)
    build = partial(model, optimizer=optimizer)
    whole = build()
    record = train(whole, steps="compiled")
    assert record.step_mode == "compiled"
    for step in range(0, 12, BLOCK):
        check_that_it_goes_on(build, step, (whole, record), tmp_path / f"run-{step}", steps="compiled")


@pytest.mark.parametrize("number", [0, 1])
def test_a_signal_within_a_block_stops_at_its_end(number, tmp_path, monkeypatch):
    uncompiled(monkeypatch)
    whole = model()
    record, prepare = train(whole, steps="compiled"), BlockFunction.prepare

    def signalled(function, batch, step):
        if step == number:
            patch.setattr(signals, "_received", 15)
        prepare(function, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockFunction, "prepare", signalled)
        # Steps 4 and 5 are the first block: that of the first epoch makes the optimizer's state.
        with pytest.raises(StoppedError, match="before step 6, which is saved"):
            train(model(), tmp_path, steps="compiled")
    resumed = model(seed=7)
    again = train(resumed, tmp_path, resume=True, steps="compiled")
    assert torch.equal(whole.f.affine.weight, resumed.f.affine.weight)
    assert again.steps == record.steps


@pytest.mark.parametrize("name", ["adversarial", "boltzmann-persistent", "variational-importance"])
def test_so_do_compiled_steps_of_variants_with_a_state(name, tmp_path, monkeypatch):
    uncompiled(monkeypatch)
    build = partial(seeded, partial(make, name))
    whole = build()
    record = train(whole, steps="compiled")
    check_that_it_goes_on(build, 6, (whole, record), tmp_path, steps="compiled")


def fail_to_compile(patch):
    def fails(function, inputs):
        raise RuntimeError("no room")

    patch.setattr(compiled, "compiler", fails)


def stop_and_resume(build, folder, between, step=8, *, first="compiled", then="compiled"):
    """Stop a stage before a step, change something, resume; return module and record."""
    with pytest.MonkeyPatch.context() as patch:
        before_chunks(patch, lambda state: state.step == step and patch.setattr(signals, "_received", 15))
        with pytest.raises(StoppedError):
            train(build(), folder, steps=first)
    between()
    resumed = build(seed=7)
    return resumed, train(resumed, folder, resume=True, steps=then)


def told(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_a_stage_whose_compiler_failed_goes_on_with_recorded_steps(tmp_path, monkeypatch, capsys):
    functions = []
    uncompiled(monkeypatch)
    with monkeypatch.context() as patch:
        fail_to_compile(patch)
        whole = model()
        train(whole, steps="compiled")
        resumed, record = stop_and_resume(model, tmp_path, lambda: functions.append(uncompiled(patch)))
    assert functions == [[]]
    assert record.step_mode == "recorded"
    assert torch.equal(whole.f.affine.weight, resumed.f.affine.weight)
    assert "not compiled: the stage goes on as its checkpoint was saved, with recorded steps" in told(capsys)


@pytest.mark.parametrize("machine", ["without a compiler", "whose compiler fails"])
def test_a_compiled_stage_that_goes_on_where_none_can_be_says_so(machine, tmp_path, monkeypatch, capsys):
    uncompiled(monkeypatch)

    def between():
        if machine == "without a compiler":
            monkeypatch.setattr(recordable, "reason_of_machine", lambda: "there is no compiler")
        else:
            fail_to_compile(monkeypatch)

    _, record = stop_and_resume(model, tmp_path, between)
    assert (record.step_mode, record.steps) == ("recorded", 12)
    assert told(capsys).count("steps were compiled until step 8 and are recorded from here on: they may round") == 1


def test_a_stage_that_auto_compiled_is_compiled_when_it_goes_on(tmp_path, monkeypatch):
    uncompiled(monkeypatch)
    _, record = stop_and_resume(model, tmp_path, lambda: None, then="auto")
    assert record.step_mode == "compiled"


def test_a_launched_stage_goes_on_launched(tmp_path, capsys):
    _, record = stop_and_resume(model, tmp_path, lambda: None, first="launched", then="recorded")
    assert record.step_mode == "launched"
    assert "not recorded: the stage goes on as its checkpoint was saved, with launched steps" in told(capsys)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(1, 6), second=st.integers(1, 6) | st.none(), every=st.integers(1, 6))
def test_a_stage_goes_on_with_chunks_of_another_length(first, second, every, tmp_path):
    undisturbed, out = model(), tmp_path / f"{first}-{second}-{every}"
    shutil.rmtree(out, ignore_errors=True)
    record = train(undisturbed)
    saving, seen = Saving(every_minutes=None, every_steps=every), []

    def die(state):
        seen.append(state.step)
        if state.step > 6:
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        before_chunks(patch, die)
        with pytest.raises(InterruptedError):
            train(model(), out, chunk_steps=first, saving=saving)
    assert {step for step in range(1, seen[-1]) if step % every == 0} <= set(seen)
    again = train(model(seed=7), out, chunk_steps=second, saving=saving, resume=True)
    assert torch.equal(undisturbed.f.affine.weight, resumed_weights(out))
    timeless = [[{**row, "epoch_seconds": 0} for row in each.history] for each in (record, again)]
    assert timeless[0] == timeless[1]


def resumed_weights(out):
    return load_file(out / "stages" / STAGE / "model.safetensors")["f.affine.weight"]


def test_saves_follow_steps_and_the_clock(tmp_path, monkeypatch):
    saved = []
    save = Checkpoints.save

    def watched(self, state):
        saved.append(state["global_step"])
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", watched)
    train(model(), tmp_path / "steps", saving=Saving(every_minutes=None, every_steps=5))
    assert saved == [5, 10]
    saved.clear()
    uncompiled(monkeypatch)
    train(model(), tmp_path / "blocks", saving=Saving(every_minutes=None, every_steps=5), steps="compiled")
    assert saved == [6, 10]  # the ends of their blocks
    saved.clear()
    train(model(), tmp_path / "clock", saving=Saving(every_minutes=1e-9))
    assert saved == list(range(1, 12))
    saved.clear()
    train(model(), tmp_path / "default")
    assert saved == []


def test_a_finished_stage_is_taken_from_its_files_and_they_are_checked(tmp_path, monkeypatch):
    trained, loaded = model(), model(seed=3)
    record = train(trained, tmp_path)
    before_chunks(monkeypatch, lambda state: pytest.fail("it trained"))
    again = train(loaded, tmp_path, resume=True)
    assert again == record
    assert torch.equal(trained.f.affine.weight, loaded.f.affine.weight)
    path = tmp_path / "stages" / STAGE / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(StorageError, match="is missing or is not what was written"):
        train(model(), tmp_path, resume=True)


def poisoned(row):
    x = torch.rand(500, 6, generator=torch.Generator().manual_seed(1))
    x[row] = float("nan")
    return x


def test_a_loss_that_is_not_finite_stops_the_epoch_and_names_step_and_examples(tmp_path, monkeypatch):
    seen = []
    before_chunks(monkeypatch, lambda state: seen.append(state.step))
    with pytest.raises(DivergedError, match=r"00-test: the loss of epoch 0, step (\d+), is nan\. Lower the learning"):
        train(model(), tmp_path, x=poisoned(77))
    told = json.loads((tmp_path / "stages" / STAGE / "diverged.json").read_text())
    assert 77 in told["examples"]
    assert told["epoch"] == 0
    assert told["step"] == told["batch"]
    assert max(seen) < 50


def test_no_checkpoint_holds_numbers_that_are_not_finite(tmp_path, monkeypatch):
    def blow_up(state):
        if state.step == 7:
            next(state.module.f.parameters()).data.fill_(float("inf"))

    before_chunks(monkeypatch, blow_up)
    with pytest.raises(DivergedError, match="step 7"):
        train(model(), tmp_path, saving=Saving(every_steps=4))
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
    with signals.remembering_signals():
        assert signals.received() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received() == signal.SIGTERM
        with pytest.raises(StoppedError, match="stopped by SIGTERM before 01-sparse") as stopped:
            signals.stop_if_asked("before 01-sparse")
        assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_checkpoints_that_a_kill_left_beside_finished_weights_go_when_the_stage_is_taken_up(files, folder):
    save(files, 1, 2)
    left = {name: (folder / name).read_bytes() for name in (LAST, PREVIOUS)}
    module = torch.nn.Linear(3, 2)
    record = train(model(), folder / "elsewhere")
    files.commit(module, record)
    for name, data in left.items():  # killed before they went
        (folder / name).write_bytes(data)
    assert files.load(module) == record
    assert not list(folder.glob("*.ckpt"))


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
            with state.recording_outcome():
                assert state.status == "running"
                if error:
                    raise error
        except type(error):
            pass
        assert state.status == status
