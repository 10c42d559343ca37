"""A class that is named starts from its own defaults, wherever it is named and whatever it replaces."""

import copy
import inspect

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim import lr_scheduler

import aepretrain as ae
from aepretrain.cli.config import build_parser, parse

LAYER = "{class_path: %s, init_args: {coder: {class_path: Dense, init_args: {features: 4}}, %s}}"
BASE = {
    "layers": [yaml.safe_load(LAYER % ("DenoisingAutoencoder", ""))],
    "control": {"layers": [yaml.safe_load(LAYER % ("PlainAutoencoder", ""))]},
}
SGD = {"class_path": "SGD", "init_args": {"lr": 0.3, "momentum": 0.9, "nesterov": True}}


@pytest.fixture
def read(tmp_path):
    """Parses dotted arguments over config files given as dictionaries."""

    def parsed(*words, files=({},)):
        named = []
        for k, values in enumerate(files):
            path = tmp_path / f"{k}.yaml"
            path.write_text(yaml.safe_dump({**(BASE if k == 0 else {}), **values}))
            named += ["--config", str(path)]
        return parse(build_parser("fit"), [*named, *words], own=())

    return parsed


def resolved(parsed, *keys):
    """A part of the resolved config."""
    value = yaml.safe_load(parsed.yaml)
    for key in keys:
        value = value[key]
    return value


def defaults(cls, *given):
    """The defaults in the signature of a class, in the form that YAML gives them back."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in given}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def without(arguments, *given):
    return {name: value for name, value in arguments.items() if name not in given}


NAMED = ("AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta", "LBFGS")


@pytest.mark.parametrize(("prefix", "name"), [*(("", name) for name in NAMED), ("control.", "AdamW")])
def test_an_optimizer_named_on_the_command_line_has_its_own_defaults(read, name, prefix):
    parsed = read(f"--{prefix}classifier.optimizer", name)
    spec = resolved(parsed, *filter(None, prefix.split(".")), "classifier", "optimizer")
    assert spec["class_path"] == f"torch.optim.{name}"
    assert spec["init_args"] == defaults(getattr(torch.optim, name))


@pytest.mark.parametrize("name", NAMED)
def test_an_optimizer_laid_over_another_file_keeps_nothing_of_that_one(read, name):
    first = {"class_path": "Adam", "init_args": {"lr": 0.3}} if name == "SGD" else SGD
    parsed = read(files=({"classifier": {"optimizer": first}}, {"classifier": {"optimizer": name}}))
    assert resolved(parsed, "classifier", "optimizer", "init_args") == defaults(getattr(torch.optim, name))


def test_a_class_in_one_file_has_its_own_defaults(read):
    spec = {"class_path": "AdamW", "init_args": {"lr": 0.1}}
    found = resolved(read(files=({"classifier": {"optimizer": spec}},)), "classifier", "optimizer", "init_args")
    assert found == {**defaults(torch.optim.AdamW), "lr": 0.1}


def test_a_scheduler_keeps_nothing_of_another(read):
    first = {"classifier": {"scheduler": {"class_path": "StepLR", "init_args": {"step_size": 3, "gamma": 0.3}}}}
    second = {"classifier": {"scheduler": {"class_path": "MultiStepLR", "init_args": {"milestones": [2]}}}}
    found = resolved(read(files=(first, second)), "classifier", "scheduler", "init_args")
    assert without(found, "milestones") == defaults(lr_scheduler.MultiStepLR)
    found = resolved(
        read("--classifier.scheduler", "MultiStepLR", "--classifier.scheduler.milestones", "[2]", files=(first,)),
        *("classifier", "scheduler", "init_args"),
    )
    assert without(found, "milestones") == defaults(lr_scheduler.MultiStepLR)


@pytest.mark.parametrize(
    ("before", "now", "place", "cls"),
    [
        (("SparseAutoencoder", "lam: 0.7"), ("ContractiveAutoencoder", ""), (), ae.ContractiveAutoencoder),
        (
            ("DenoisingAutoencoder", "corruption: {class_path: Masking, init_args: {p: 0.7}}"),
            ("DenoisingAutoencoder", "corruption: SaltAndPepper"),
            ("corruption",),
            ae.SaltAndPepper,
        ),
        (
            ("PlainAutoencoder", "optimizer: {class_path: SGD, init_args: {lr: 0.7, momentum: 0.9}}"),
            ("PlainAutoencoder", "optimizer: RMSprop"),
            ("optimizer",),
            torch.optim.RMSprop,
        ),
    ],
)
def test_a_layer_and_its_parts_keep_nothing_of_others(read, before, now, place, cls):
    files = tuple({"layers": [yaml.safe_load(LAYER % each)]} for each in (before, now))
    spec = resolved(read(files=files), "layers")[0]
    for key in place:
        spec = spec["init_args"][key]
    plain = {name: value for name, value in defaults(cls).items() if name in spec["init_args"]}
    assert plain
    assert {name: spec["init_args"][name] for name in plain} == plain


def test_data_and_callbacks_keep_nothing_of_others(read):
    first = {"data": {"class_path": "FashionMNIST", "init_args": {"labels": 100, "unlabelled": 200}}}
    assert resolved(read("--data", "MNIST", files=(first,)), "data", "init_args", "labels") is None
    assert resolved(read("--data", "Digits", files=(first,)), "data", "init_args") == defaults(ae.Digits)

    def calling(name, **arguments):
        spec = {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}
        return {"callbacks": [spec], "trainer": {"engine": "lightning"}}

    files = (calling("EarlyStopping", monitor="val/loss", mode="max"), calling("ModelCheckpoint"))
    found = resolved(read(files=files), "callbacks")[0]["init_args"]
    assert found == defaults(ModelCheckpoint)


def test_arguments_given_with_the_class_or_after_it_hold(read):
    words = ("--classifier.optimizer", "SGD", "--classifier.optimizer.lr", "0.1")
    expected = {**defaults(torch.optim.SGD), "lr": 0.1}
    assert resolved(read(*words), "classifier", "optimizer", "init_args") == expected
    words = ("--classifier.optimizer", '{"class_path": "SGD", "init_args": {"lr": 0.1}}')
    assert resolved(read(*words), "classifier", "optimizer", "init_args") == expected
    files = ({"classifier": {"optimizer": "SGD"}},)
    found = resolved(read("--classifier.optimizer.lr", "0.1", files=files), "classifier", "optimizer", "init_args")
    assert found == expected


@pytest.mark.parametrize("name", ["SGD", "torch.optim.SGD", "torch.optim.sgd.SGD"])
def test_the_same_class_named_again_keeps_what_was_given(read, name):
    files = ({"classifier": {"optimizer": SGD}},)
    found = resolved(read("--classifier.optimizer", name, files=files), "classifier", "optimizer", "init_args")
    assert found == {**defaults(torch.optim.SGD), **SGD["init_args"]}
    again = {"classifier": {"optimizer": {"class_path": name, "init_args": {"lr": 0.5}}}}
    found = resolved(read(files=(*files, again)), "classifier", "optimizer", "init_args")
    assert found == {**defaults(torch.optim.SGD), **SGD["init_args"], "lr": 0.5}


def test_the_same_data_by_another_path_keep_what_was_given(read):
    files = ({"data": {"class_path": "Digits", "init_args": {"labels": 100}}},)
    assert resolved(read("--data", "aepretrain.data.digits.Digits", files=files), "data", "init_args", "labels") == 100


@pytest.mark.parametrize(
    "words",
    [
        ("--classifier.optimizer.lr", "0.1", "--classifier.optimizer", "SGD"),
        ("--classifier.optimizer.lr=0.1", "--classifier.optimizer=SGD"),
        ("--data.labels", "100", "--data", "OneHotPatterns"),
    ],
)
def test_an_argument_that_would_be_lost_before_its_class_is_refused(read, words):
    argument = words[0].split("=")[0]
    option = argument.rsplit(".", 1)[0]
    with pytest.raises(ae.ConfigError, match=rf"^{argument} stands before .* Put {argument} after {option}\.$"):
        read(*words)


def test_an_argument_before_the_class_that_it_is_for_anyway_holds(read):
    words = ("--classifier.optimizer.lr", "0.1", "--classifier.optimizer", "Adam")
    assert resolved(read(*words), "classifier", "optimizer", "init_args", "lr") == 0.1


def test_a_grid_gives_a_class_its_arguments_in_whatever_order(read):
    lr, named = "classifier.optimizer.init_args.lr", "classifier.optimizer"
    grids = ({lr: [0.5, 0.25], named: ["SGD", "AdamW"]}, {named: ["SGD", "AdamW"], lr: [0.5, 0.25]})
    for grid in grids:
        tried = read(files=({"compare": {"grid": grid}},)).trials
        made = [trial.experiment.classifier(nn.Linear(3, 2), 2).make_optimizer() for trial in tried]
        found = {(type(each).__name__, each.defaults["lr"], each.defaults["weight_decay"]) for each in made}
        assert found == {(name, lr, decay) for name, decay in (("SGD", 0.0), ("AdamW", 0.01)) for lr in (0.5, 0.25)}


def test_arguments_override_files_wherever_they_stand(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**BASE, "seed": 5}))
    parsed = parse(build_parser("fit"), ["--seed", "1", "--config", str(path)], own=())
    assert (parsed.experiment.seed, resolved(parsed, "seed")) == (1, 1)


@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop", "NAdam"])
def test_what_is_named_trains_as_the_optimizer_of_torch_does(read, name):
    first = {} if name == "SGD" else {"classifier": {"optimizer": SGD}}
    parsed = read("--classifier.optimizer", name, files=(first,))
    encoder = nn.Sequential(nn.Linear(64, 8), nn.Sigmoid())
    model = parsed.experiment.build_classifier(encoder)
    by_hand = copy.deepcopy(model)
    optimizers = model.make_optimizer(), getattr(torch.optim, name)(by_hand.parameters())
    x, y = torch.rand(20, 64), torch.arange(20) % 10
    for each, optimizer in zip((model, by_hand), optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            each.loss(x, y).mean().backward()
            optimizer.step()
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_resolved_config_is_read_back_as_it_is(read, tmp_path):
    parsed = read("--classifier.optimizer", "AdamW")
    path = tmp_path / "resolved.yaml"
    path.write_text(parsed.yaml)
    assert parse(build_parser("fit"), ["--config", str(path)], own=()).yaml == parsed.yaml
