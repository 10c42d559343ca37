"""Compiled steps against launched ones: equal up to rounding, and the same bits wherever a run stops.

All but the last tests leave torch's compiler out: the function that it is given runs as it stands.
"""

import shutil
from functools import partial

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from aepretrain import Dense, PlainAutoencoder
from aepretrain.errors import StoppedError
from aepretrain.training.acceleration import compiled, products, recorded
from aepretrain.training.acceleration.block_function import BlockFunction
from aepretrain.training.acceleration.compiled import LEAST_STEPS, MOST_WEIGHTS, pays_off, reason_of_machine
from aepretrain.training.acceleration.draws import reason_not_drawn_before
from aepretrain.training.acceleration.tape import Tape
from aepretrain.training.acceleration.written_updates import WrittenUpdate
from aepretrain.training.options import StageSettings
from aepretrain.training.recovery import signals
from aepretrain.training.state import TrainingState
from tests.support.compiling import BLOCK, uncompiled
from tests.training.acceleration.test_recorded import OPTIMIZERS, SCHEDULERS, Curious, build_plain
from tests.training.test_loop import MODULES, make, same_bits, train

STEPS = 18
"""Three epochs of five whole batches and an odd one."""


@pytest.fixture
def functions(monkeypatch):
    """The functions that were given to the compiler."""
    return uncompiled(monkeypatch)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(compiled, "BLOCK", BLOCK)


@pytest.fixture
def prepared(monkeypatch):
    """The functions of compiled steps, each time that one is taken."""
    calls, prepare = [], BlockFunction.prepare

    def counted(function, *args):
        calls.append(function)
        prepare(function, *args)

    monkeypatch.setattr(BlockFunction, "prepare", counted)
    return calls


def check_close(build, *, rtol=1e-4, atol=2e-6, **options):
    """Train twice, launched and compiled, and compare weights and history up to rounding."""
    modules, histories = [build(), build()], []
    for module, steps in zip(modules, ("launched", "compiled"), strict=True):
        record = train(module, steps=steps, **options)
        assert record.step_mode == steps
        histories.append([{**row, "epoch_seconds": 0} for row in record.history])
    for one, other in zip(modules[0].state_dict().values(), modules[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
    for one, other in zip(*histories, strict=True):
        assert one == pytest.approx(other, rel=max(rtol, 1e-3), abs=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_compiled_steps_are_launched_ones_up_to_rounding(name, functions, prepared):
    check_close(lambda: make(name, optimizer=OPTIMIZERS["nesterov"]))
    # Batches beyond a block are recorded, and so is the first block, in which the optimizer's state is made.
    assert (len(functions), len(prepared)) == (1, 3 * 4 - BLOCK)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_fused_optimizer_is_written_out(optimizer, functions, prepared):
    check_close(lambda: make("classifier", optimizer=OPTIMIZERS[optimizer]))
    assert (len(functions), len(prepared)) == (1, 3 * 4 - BLOCK)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_maximized_rises(optimizer, functions):
    def maximizing(parameters):
        made = OPTIMIZERS[optimizer](parameters)
        for group in made.param_groups:
            group["maximize"] = True
        return made

    check_close(lambda: make("jump", optimizer=maximizing), epochs=1)
    assert functions


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_settings_of_the_optimizer_are_read_at_every_step(scheduler, optimizer, functions):
    check_close(lambda: make(optimizer=OPTIMIZERS[optimizer], scheduler=SCHEDULERS[scheduler]))
    assert functions


@pytest.mark.parametrize("options", [{"gradient_clip_val": 0.05}, {"precision": "bf16-mixed"}], ids=str)
@pytest.mark.parametrize("name", ["importance", "projected", "classifier"])
def test_so_they_are_with_options_of_the_trainer(name, options, functions):
    check_close(lambda: make(name), **options, **({"atol": 1e-2} if "precision" in options else {}))
    assert functions


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_length_of_chunks_does_not_matter(optimizer, functions):
    modules = [make(optimizer=OPTIMIZERS[optimizer]) for _ in range(4)]
    for module, steps in zip(modules, (1, 3, 5, None), strict=True):
        train(module, steps="compiled", chunk_steps=steps, batch_size=8)
    assert len(functions) == 4
    assert all(same_bits(modules[0], module) for module in modules)


def test_the_length_of_blocks_does_not_matter_but_for_rounding(functions, monkeypatch):
    modules = [make(optimizer=OPTIMIZERS["adam"]) for _ in range(3)]
    for module, steps in zip(modules, (1, 2, 4), strict=True):
        monkeypatch.setattr(compiled, "BLOCK", steps)
        train(module, steps="compiled", batch_size=8)
    assert [function.steps for function in functions] == [1, 2, 4]
    for module in modules[1:]:
        torch.testing.assert_close(modules[0].state_dict(), module.state_dict(), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scheduler", [None, lambda o: StepLR(o, 1, 0.5)])
def test_large_matrices_of_plain_sgd_are_updated_by_their_product(scheduler, tied, functions, prepared, monkeypatch):
    monkeypatch.setattr(products, "SMALLEST", 24)

    def build():
        module = build_plain(OPTIMIZERS["sgd"], tied)
        module.scheduler = scheduler
        return module

    check_close(build, rtol=1e-3)
    assert [len(function.products) for function in functions] == [2]
    assert len(prepared) == 3 * 5  # the first step, too: plain SGD has no state


def test_only_whole_batches_are_compiled(functions, prepared):
    check_close(make, batch_size=20)  # four of 20 and one of 10 of 90 examples
    assert (len(functions), len(prepared)) == (1, 3 * 4 - BLOCK)


def test_a_stage_whose_only_block_makes_the_optimizers_state_is_recorded(functions, capsys):
    assert train(make(), batch_size=30, epochs=1, steps="compiled").step_mode == "recorded"  # three batches
    assert "not compiled: its only epoch has fewer than 4 whole batches" in told(capsys)
    assert train(make(), batch_size=30, epochs=2, steps="compiled").step_mode == "compiled"
    assert len(functions) == 1


def test_an_odd_batch_that_cannot_be_recorded_leaves_the_others_compiled(prepared, functions, monkeypatch, capsys):
    monkeypatch.setattr(recorded, "OFTEN", 1)
    record = train(CuriousOfOddOnes((6,), Dense(4)), steps="compiled", epochs=4)
    assert told(capsys).count("not recorded: it reads a value") == 1
    assert record.step_mode == "compiled"
    assert len(prepared) == 4 * 4 - BLOCK


class CuriousOfOddOnes(PlainAutoencoder):
    """Reads a value in batches that are not whole."""

    def energy(self, x):
        energies = self.L(x, self.g(self.f(x)))
        return energies if len(x) == 16 or energies.mean().item() > 0 else energies * 2


def test_noise_that_does_not_lie_in_one_piece_is_not_gathered():
    x = torch.zeros(2, 3).t()
    operations = tape_of(lambda: torch.empty_like(x).uniform_().add(1))
    function = BlockFunction([x], x, operations, [], SGD([x], lr=0.1))
    assert function.reason == "its batch or its noise does not lie in memory in one piece"


def test_epochs_without_a_block_of_whole_batches_are_recorded(functions, capsys):
    assert train(make(), batch_size=60, steps="compiled").step_mode == "recorded"  # of 60 and 30 examples
    assert "not compiled: an epoch has fewer than 2 whole batches" in told(capsys)
    assert not functions


@pytest.mark.parametrize(("position", "count"), [(1, 2 + 4), (2, 2 + 4), (3, 4)])
def test_a_block_that_was_begun_otherwise_is_ended_otherwise(position, count, functions, prepared, monkeypatch):
    started = TrainingState.__init__

    def start(state, *arguments, **options):
        started(state, *arguments, **options)
        state.epoch, state.position = 1, position  # as the checkpoint of a version without blocks may have it

    monkeypatch.setattr(TrainingState, "__init__", start)
    train(make(), steps="compiled")
    assert len(prepared) == count  # of the second and third epoch


# What is not compiled


def tape_of(function):
    with Tape() as tape:
        function()
    return tape.operations


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda x: torch.rand(3) + torch.rand_like(x) + torch.empty(3).uniform_().mul_(2), None),
        (lambda x: torch.empty(2, 3)[1].normal_(), None),
        (lambda x: torch.bernoulli(x), "the numbers that aten::bernoulli draws depend on others"),
        (lambda x: torch.zeros(3).uniform_(), "aten::uniform_ draws into memory that holds other values"),
        (lambda x: torch.empty(3).fill_(1).uniform_(), "aten::uniform_ draws into memory that holds other values"),
        (lambda x: x.uniform_(), "aten::uniform_ draws into memory that holds other values"),
    ],
)
def test_noise_is_drawn_before_a_step_where_it_can_be(draw, reason):
    x = torch.rand(3)
    assert reason_not_drawn_before(tape_of(lambda: draw(x))) == reason


def test_memory_that_is_read_in_several_views_must_not_change():
    x = torch.zeros(4)
    halves = x[:2], x[1:3]
    operations = tape_of(lambda: (halves[0].add_(1), halves[1].mul(2)))
    function = BlockFunction([x], x, operations, [], SGD([x], lr=0.1))
    assert function.reason == "it changes memory that it reads in several views"


@pytest.mark.parametrize("steps", [2, 3])
def test_an_optimizer_counts_all_steps_alike(steps):
    weights = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.Adam(weights, fused=True)
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer.step()
    optimizer.state[weights[1]]["step"].fill_(steps - 1)
    operations = tape_of(optimizer.step)
    update = WrittenUpdate(operations[-1], optimizer)
    assert update.reason == (None if steps == 2 else "the optimizer counts the steps of weights separately")


def told(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_it_says_that_it_compiles_and_how_long_it_took(functions, capsys):
    train(make(), steps="compiled")
    said = told(capsys)
    assert said.count("00-test compiles steps, in 10 to 30 s the first time") == 1
    assert said.count("00-test steps are compiled, after 0 s") == 1


def test_a_compiler_that_fails_leaves_the_step_recorded(monkeypatch, capsys):
    def fails(function, inputs):
        raise RuntimeError("no room\nfor code")

    monkeypatch.setattr(compiled, "compiler", fails)
    modules = [make(), make()]
    record = train(modules[0], steps="compiled")
    assert told(capsys).count("steps are recorded and not compiled: RuntimeError: no room") == 1
    assert record.step_mode == "recorded"
    assert train(modules[1], steps="recorded").step_mode == "recorded"
    assert same_bits(*modules)


def test_a_compiler_that_a_signal_ended_stops_the_stage(monkeypatch, capsys):
    def ended(function, inputs):
        monkeypatch.setattr(signals, "_received", 2)
        raise RuntimeError("g++ was interrupted")

    monkeypatch.setattr(compiled, "compiler", ended)
    with pytest.raises(StoppedError, match="while 00-test compiled its steps"):
        train(make(), steps="compiled")
    assert "not compiled" not in told(capsys)


def test_without_a_compiler_steps_are_recorded_and_it_says_so(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert train(make(), steps="compiled").step_mode == "recorded"
    assert "not compiled: there is no C++ compiler no-such-compiler. Install it" in told(capsys)


def test_a_cache_that_cannot_be_written_is_seen_before(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled.shutil, "which", lambda name: name)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "cache" in reason_of_machine()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    assert reason_of_machine() is None


@pytest.mark.parametrize("name", ["prefix", "version_info"])
def test_code_of_another_python_is_not_looked_for(name, monkeypatch):
    before = compiled._machine()
    monkeypatch.setattr(compiled.sys, name, (3, 99) if name == "version_info" else "/elsewhere")
    assert compiled._machine() != before


@pytest.mark.parametrize("flag", compiled.FLAGS)
def test_nor_is_that_of_other_flags(flag, monkeypatch):
    before = compiled._machine()
    monkeypatch.setenv(flag, "-O9")
    assert compiled._machine() != before


def test_compiled_code_is_not_kept_where_others_could_put_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in (None, compiled.default_cache()):
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        if named is not None:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", named)
        assert compiled.cache_folder() == tmp_path / ".cache" / "aepretrain" / "compiled"


def test_a_class_of_the_user_is_launched_or_compiled_when_vouched_for(functions, capsys):
    assert train(Curious((6,), Dense(4)), steps="auto").step_mode == "launched"
    assert train(Curious((6,), Dense(4)), steps="compiled").step_mode == "launched"  # it reads a value
    assert "not recorded: it reads a value with aten::_local_scalar_dense" in told(capsys)
    assert not functions


def test_a_record_says_how_steps_were_taken(functions):
    assert train(make(optimizer=OPTIMIZERS["adam"]), steps="compiled").step_mode == "compiled"
    assert train(make(), steps="recorded").step_mode == "recorded"
    assert train(Curious((6,), Dense(4)), steps="recorded").step_mode == "launched"


# The rule of auto


def test_auto_compiles_by_the_numbers_of_steps_and_weights(functions, monkeypatch):
    assert train(make()).step_mode == "recorded"
    monkeypatch.setattr(compiled, "LEAST_STEPS", STEPS)
    monkeypatch.setattr(compiled, "MOST_WEIGHTS", 6 * 4 + 4 + 4 * 6 + 6)
    assert train(make()).step_mode == "compiled"
    assert train(make(), epochs=2).step_mode == "recorded"
    assert train(make(), steps="recorded").step_mode == "recorded"
    assert train(make(), steps="launched").step_mode == "launched"
    assert len(functions) == 1
    monkeypatch.setattr(compiled, "MOST_WEIGHTS", 6 * 4 + 4 + 4 * 6 + 6 - 1)
    assert train(make()).step_mode == "recorded"


def test_the_rule_counts_steps_and_weights():
    stage = partial(StageSettings, "00-x", batch_size=20)
    assert pays_off(stage(epochs=LEAST_STEPS // 1000), 1000, MOST_WEIGHTS)
    assert not pays_off(stage(epochs=LEAST_STEPS // 1000), 999, MOST_WEIGHTS)
    assert not pays_off(stage(epochs=LEAST_STEPS), 1000, MOST_WEIGHTS + 1)
    # Epochs that are added later must leave those before as they are.
    assert not pays_off(stage(epochs=LEAST_STEPS, may_go_on=True), 1000, 1)


# With torch's compiler


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


has_compiler = shutil.which(compiled.compiler_name()) is not None
needs_a_compiler = pytest.mark.skipif(not has_compiler, reason="there is no C++ compiler")


@needs_a_compiler
def test_torchs_compiler_takes_a_step_and_gives_the_same_bits_twice(cache, monkeypatch, prepared):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    build = lambda: PlainAutoencoder((6,), Dense(4), optimizer=OPTIMIZERS["adam"])  # noqa: E731
    modules = [seeded(build), seeded(build), seeded(build)]
    for module, steps in zip(modules, ("launched", "compiled", "compiled"), strict=True):
        assert train(module, steps=steps, epochs=2).step_mode == steps
    assert len(prepared) == 2 * (2 * 4 - BLOCK)
    assert any(path.suffix == ".so" for path in cache.rglob("*"))
    assert same_bits(modules[1], modules[2])
    torch.testing.assert_close(modules[0].state_dict(), modules[1].state_dict(), rtol=1e-4, atol=2e-6)


def seeded(build):
    torch.manual_seed(0)
    return build()


@needs_a_compiler
@pytest.mark.soak
@pytest.mark.filterwarnings("default")
def test_torchs_compiler_takes_blocks_as_long_as_they_are(cache, monkeypatch, prepared):
    monkeypatch.undo()  # of short_blocks
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    check_close(lambda: make(optimizer=OPTIMIZERS["adam"]), batch_size=8)
    assert compiled.BLOCK == 8


@needs_a_compiler
@pytest.mark.soak
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", MODULES)
def test_torchs_compiler_takes_the_steps_of_every_module(name, cache, monkeypatch, prepared):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    check_close(lambda: make(name, optimizer=OPTIMIZERS["nesterov"]))
    assert len(prepared) == 3 * 4 - BLOCK


@needs_a_compiler
@pytest.mark.soak
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_and_every_optimizer(optimizer, cache, monkeypatch, prepared):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    check_close(lambda: make("classifier", optimizer=OPTIMIZERS[optimizer]), gradient_clip_val=0.05)
    assert len(prepared) == 3 * 4 - BLOCK
