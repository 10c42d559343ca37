"""Recorded steps, seen on the CPU with a stand-in for CUDA graphs: what a graph holds, it holds, and nothing else."""

import gc
import weakref
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import embedding
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import StepLR

from aepretrain import Autoencoder, DenoisingAutoencoder, Dense, RunContext
from aepretrain.ensembles.train import train_seeds
from aepretrain.errors import GraphError, OutOfMemoryError
from aepretrain.parts.corruptions import GaussianNoise, Masking, SaltAndPepper, SwapNoise
from aepretrain.training import graphs
from aepretrain.training.acceleration.tuning import fuse
from aepretrain.training.graphs import WARM_UP, Watch
from tests.support.tape import record_steps

from .test_engine import MODULES, X, make, same_bits, scale_losses, train

OPTIMIZERS = {
    "sgd": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: Adam(parameters, lr=0.01),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1),
}


def launched_and_recorded(monkeypatch, build, **options):
    modules, records = [build(), build()], []
    records.append(train(modules[0], **options))
    recorder = record_steps(monkeypatch)
    records.append(train(modules[1], **options))
    return modules, records, recorder


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODULES)
def test_replayed_steps_have_the_bits_of_launched_ones(name, optimizer, monkeypatch):
    build = lambda: make(name, optimizer=OPTIMIZERS[optimizer])  # noqa: E731
    modules, records, recorder = launched_and_recorded(monkeypatch, build, epochs=5, gradient_clip_val=0.5)
    assert same_bits(*modules)
    # 90 examples in batches of 16: five whole ones and one of ten per epoch, which are two shapes.
    assert (recorder.recorded, recorder.warmed_up, recorder.replayed) == (2, 2 * WARM_UP, 30 - 2 * WARM_UP)
    for one, other in zip(records[0].history, records[1].history, strict=True):
        assert {**one, "epoch_seconds": 0} == {**other, "epoch_seconds": 0}


@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"accumulate": 3}, {"dispatch": 2}])
def test_so_they_have_in_mixed_precision_in_parts_and_in_short_dispatches(options, monkeypatch):
    modules, _, recorder = launched_and_recorded(monkeypatch, lambda: make("classifier"), **options)
    assert same_bits(*modules)
    assert recorder.replayed


def test_recordings_are_given_back_when_their_stage_ends(monkeypatch):
    recorder, losses = record_steps(monkeypatch), []
    record = recorder.record

    def remembered(work, generators):
        replay, loss = record(work, generators)
        losses.append(weakref.ref(loss))
        return replay, loss

    recorder.record = remembered
    gc.disable()
    try:
        train(make(), epochs=5)
        assert [loss() for loss in losses] == [None, None]
    finally:
        gc.enable()


def test_a_learning_rate_that_changes_is_recorded_anew(monkeypatch):
    monkeypatch.setattr(graphs, "WORTH", 7)
    build = lambda: make(optimizer=OPTIMIZERS["adam"], scheduler=lambda o: StepLR(o, 2, 0.1))  # noqa: E731
    modules, _, recorder = launched_and_recorded(monkeypatch, build, epochs=4)
    assert same_bits(*modules)
    # Two epochs have ten whole batches; the two others are too few to be recorded.
    assert (recorder.recorded, recorder.replayed) == (2, 2 * 7)


def test_settings_that_change_often_are_waited_for(monkeypatch):
    monkeypatch.setattr(graphs, "WORTH", 8)
    build = lambda: make(optimizer=OPTIMIZERS["adam"], scheduler=lambda o: StepLR(o, 2, 0.1))  # noqa: E731
    modules, _, recorder = launched_and_recorded(monkeypatch, build, epochs=4)
    assert same_bits(*modules)
    assert (recorder.recorded, recorder.replayed) == (1 + 1, 7 + 2)  # the second after eight steps


def test_a_step_that_cannot_be_recorded_after_all_ends_with_the_way_out(monkeypatch):
    recorder = record_steps(monkeypatch)

    def fail(work, generators):
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")

    recorder.record = fail
    with pytest.raises(
        GraphError, match=r"when stream is capturing\. Set --trainer\.cuda_graphs off; a run that saved"
    ):
        train(make())


def test_memory_that_runs_out_while_a_step_is_recorded_is_told_as_such(monkeypatch):
    recorder = record_steps(monkeypatch)

    def fail(work, generators):
        raise torch.OutOfMemoryError("CUDA out of memory")

    recorder.record = fail
    with pytest.raises(OutOfMemoryError):
        train(make())


def test_the_loss_scale_of_half_precision_is_part_of_the_recording(monkeypatch):
    steps = scale_losses(monkeypatch, init_scale=2.0**127, growth_interval=10)
    build = lambda: make("sparse", optimizer=OPTIMIZERS["adam"], lam=100.0)  # noqa: E731
    modules, _, recorder = launched_and_recorded(monkeypatch, build, epochs=5, gradient_clip_val=0.5)
    assert same_bits(*modules)
    assert recorder.replayed
    # Steps that overflow are left out and halve the scale, replayed or not; ten good ones double it.
    scales = [step.scaler.get_scale() for step in steps]
    assert scales[0] == scales[1] < 2.0**127
    assert all(parameter.isfinite().all() for parameter in modules[0].parameters())


def test_momentum_is_sound_where_the_first_gradients_overflow(monkeypatch):
    steps = scale_losses(monkeypatch, init_scale=2.0**127)
    module = make("sparse", optimizer=OPTIMIZERS["sgd"], lam=100.0)
    train(module, gradient_clip_val=0.5)
    assert steps[0].scaler.get_scale() < 2.0**127
    assert not any(group["fused"] for group in steps[0].optimizer.param_groups)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


class Own(Masking):
    pass


class Counting(Autoencoder):
    steps = 0

    def energy(self, x):
        self.steps += 1
        return self.L(x, self.g(self.f(x)))


class Reading(Autoencoder):
    def energy(self, x):
        return self.L(x, self.g(self.f(x))) * (2.0 if x.mean().item() > 0.5 else 1.0)


def test_parts_of_ones_own_are_launched_unless_they_are_said_to_be_fit(monkeypatch, capsys):
    build = lambda: DenoisingAutoencoder((6,), Dense(4), corruption=Own(0.5))  # noqa: E731
    recorder = record_steps(monkeypatch)
    train(build())
    said = " ".join(capsys.readouterr().out.split())
    assert "00-test steps are launched kernel by kernel, not as CUDA graphs: Own is a part of your own." in said
    assert "trainer.cuda_graphs to on" in said
    assert not recorder.recorded
    train(build(), cuda_graphs="on")
    assert recorder.recorded
    assert not capsys.readouterr().out


def test_many_seeds_at_once_are_recorded_with_the_noise_of_each(monkeypatch):
    def run():
        torch.manual_seed(0)
        layers = [DenoisingAutoencoder((6,), Dense(4), corruption=Masking(0.5)) for _ in range(3)]
        contexts = [RunContext(seed=seed, progress=False) for seed in range(3)]
        settings = {"stage": "00-test", "epochs": 4, "batch_size": 15, "monitor": "val/reconstruction"}
        return layers, train_seeds(layers, [[X]] * 3, [[X]] * 3, contexts, **settings)

    launched, records = run()
    recorder = record_steps(monkeypatch)
    replayed, other_records = run()
    assert recorder.replayed == 4 * 6 - WARM_UP
    assert all(same_bits(one, other) for one, other in zip(launched, replayed, strict=True))
    losses = [[[epoch["train/loss"] for epoch in each.history] for each in run] for run in (records, other_records)]
    assert losses[0] == losses[1]


def test_a_recording_does_not_do_again_what_python_did(monkeypatch):
    # Hence the rule above: this is what trainer.cuda_graphs on may not be said of.
    module = Counting((6,), Dense(4))
    recorder = record_steps(monkeypatch)
    train(module, cuda_graphs="on", epochs=5)
    assert module.steps < 5 * 6 + 5 * 1
    assert recorder.replayed


def test_steps_that_wait_for_the_device_are_launched_and_it_is_said_why(monkeypatch, capsys):
    torch.manual_seed(0)
    one = Reading((6,), Dense(4))
    torch.manual_seed(0)
    other = Reading((6,), Dense(4))
    train(one)
    recorder = record_steps(monkeypatch)
    train(other, cuda_graphs="on")
    assert "aten._local_scalar_dense waits for the device" in " ".join(capsys.readouterr().out.split())
    assert same_bits(one, other)
    assert not recorder.recorded


class Clipping(torch.optim.Adam):
    """An optimizer of somebody else's."""


def stepped_by_a_hook(parameters):
    optimizer = Adam(parameters)
    optimizer.register_step_pre_hook(lambda *args: None)
    return optimizer


def with_a_gradient_hook():
    module = make()
    module.f.affine.weight.register_post_accumulate_grad_hook(lambda weight: None)
    return module


def replaced():
    module = make()
    module.f.affine.forward = lambda x: x @ module.f.affine.weight.T
    return module


def seen_before_backward():
    module = make()
    module.f.activation.register_full_backward_pre_hook(lambda *args: None)
    return module


def hooked():
    module = make()
    module.f.affine.register_forward_hook(lambda *args: None)
    return module


class Warming(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        pl_module.beta = trainer.current_epoch


class Looking(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        assert trainer.optimizers[0] is optimizer


@pytest.mark.parametrize(
    ("build", "options", "reason"),
    [
        (lambda: make(optimizer=RMSprop), {}, "the optimizer RMSprop is not fused"),
        (lambda: make(optimizer=partial(Clipping, fused=True)), {}, "the optimizer Clipping is not torch's"),
        (lambda: make(optimizer=stepped_by_a_hook), {}, "a hook looks at each step of the optimizer Adam"),
        (with_a_gradient_hook, {}, "a hook looks at each gradient of f.affine.weight"),
        (replaced, {}, "the forward of a Linear was replaced"),
        (seen_before_backward, {}, "a hook looks at each step of a Sigmoid"),
        (hooked, {}, "a hook looks at each step of a Linear"),
        (make, {"on_nan": "skip"}, "on_nan skip looks at the gradients of each step"),
        (make, {"callbacks": [Looking()]}, "the callback Looking looks at each step"),
        (make, {"callbacks": [Warming()]}, "the callback Warming may change what a step computes"),
    ],
)
def test_what_cannot_be_recorded_is_launched_and_it_is_said_why(build, options, reason, monkeypatch, capsys):
    recorder = record_steps(monkeypatch)
    train(build(), **options)
    assert reason in " ".join(capsys.readouterr().out.split())
    assert not recorder.recorded
    assert not recorder.warmed_up


def test_steps_that_were_counted_on_the_cpu_move_to_the_weights_when_they_are_fused():
    with FakeTensorMode():
        weights = torch.zeros(3, device="cuda", requires_grad=True)
        optimizer = Adam([weights])
        optimizer.state[weights]["step"] = torch.tensor(4.0)
        fuse(optimizer)
    assert optimizer.param_groups[0]["fused"]
    assert optimizer.state[weights]["step"].device.type == "cuda"


def test_graphs_can_be_turned_off(monkeypatch, capsys):
    recorder = record_steps(monkeypatch)
    train(make(), cuda_graphs="off")
    assert not recorder.warmed_up
    assert not capsys.readouterr().out


def test_operations_on_two_devices_are_no_graph():
    with FakeTensorMode(), Watch() as watch:
        torch.zeros(2, device="cuda") * torch.zeros((), device="cpu")
    assert watch.reason == "aten.mul takes tensors of cpu and cuda"


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda x: x[x > 0], "aten.index waits for the device"),
        (lambda x: x.index_put((x > 0,), torch.ones(16)), "aten.index_put waits for the device"),
        (lambda x: torch.linalg.inv(x), "aten._linalg_check_errors waits for the device"),
        (lambda x: embedding(torch.arange(4), x, max_norm=0.5), "aten.embedding_renorm_ waits for the device"),
        (lambda x: x[torch.tensor([2, 0])], None),
        (lambda x: x.index_put((torch.tensor([2, 0]),), torch.ones(4)), None),
    ],
)
def test_operations_that_wait_are_told_from_those_that_do_not(work, reason):
    x = torch.eye(4) + 1
    with Watch() as watch:
        work(x)
    assert watch.reason == reason


@pytest.mark.parametrize("corruption", [GaussianNoise(), Masking(), SaltAndPepper(), SwapNoise()])
def test_no_corruption_waits_for_the_device_or_reads_the_host(corruption):
    # On a device without contents, which has not even got the number that someone would wait for.
    with Watch() as watch:
        corruption(torch.empty(16, 6, device="meta"))
    assert watch.reason is None


@pytest.mark.parametrize("name", MODULES)
def test_nor_does_any_step_of_ours(name, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # knows no such device
    module = make(name).to("meta")
    batch = [torch.empty(16, 6, device="meta"), torch.empty(16, dtype=torch.int64, device="meta")]
    with Watch() as watch:
        module.training_step(batch, 0).backward()
    assert watch.reason is None
