"""What every data source does with its splits: label budgets, the pool, divisions, loaders, warnings."""

import pickle

import pytest
import torch

from aepretrain import Arrays, ConfigError, DataError, Digits, Standardize
from aepretrain.data import balanced_subset, base
from aepretrain.data.examples import Examples, Source
from aepretrain.data.file_rows import WINDOW
from aepretrain.data.read_ahead import WINDOWS
from aepretrain.parts.noise import derive_seed


def table(count=100, **settings):
    """Rows that tell their number, and labels that tell their row: ``y = x % 4``."""
    return Arrays(torch.arange(float(count)).unsqueeze(1), torch.arange(count) % 4, **settings)


def numbers(x):
    return x.flatten().long().tolist()


@pytest.mark.parametrize("settings", [{}, {"labels": 20}, {"unlabelled": 30}, {"labels": 12, "unlabelled": 30}])
def test_labels_stay_with_their_rows_and_every_split_with_itself(settings):
    whole, splits = table().splits(3), table(**settings).splits(3)
    assert all(torch.equal(split.y, split.x.flatten().long() % 4) for split in (splits.train, splits.validation))
    for name in ("validation", "test"):
        assert torch.equal(getattr(splits, name).x, getattr(whole, name).x)
    assert set(numbers(splits.train.x)) <= set(numbers(whole.train.x))
    assert len(splits.train) == settings.get("labels", 60 - settings.get("unlabelled", 0))
    if "unlabelled" in settings:
        assert len(splits.unlabelled) == 30
        assert not set(numbers(splits.unlabelled)) & set(numbers(splits.train.x))
    else:
        assert numbers(splits.unlabelled) == numbers(whole.train.x)


def test_a_pool_must_leave_one_labelled_example():
    assert len(table(unlabelled=59).splits().train) == 1
    with pytest.raises(ConfigError, match="must leave labelled examples: 60 of 60"):
        table(unlabelled=60).splits()


@pytest.mark.parametrize("name", ["labels", "unlabelled"])
def test_a_number_of_examples_is_at_least_one(name):
    assert getattr(table(**{name: 1}), name) == 1
    with pytest.raises(ConfigError, match=rf"data\.{name} must be >= 1, but got 0"):
        table(**{name: 0})


@pytest.mark.parametrize(("count", "needed"), [(7, 4), (8, 4)])
def test_a_class_gives_its_share_or_is_named(count, needed):
    y = torch.tensor([0] * 20 + [1] * needed)
    assert sorted(y[balanced_subset(y, count, 0)].bincount().tolist(), reverse=True) == [4, count - 4]
    y = torch.tensor([0] * 20 + [1] * (count // 2 - 1))
    least = f"class dog has {count // 2 - 1} training examples, but a balanced choice of {count} labels needs "
    with pytest.raises(DataError, match=rf"{least}\d. Lower data\.labels to {2 * (count // 2 - 1)} or less\."):
        balanced_subset(y, count, 0, ["cat", "dog"])
    assert len(balanced_subset(torch.arange(3), 3, 0)) == 3


def test_the_choice_takes_other_examples_and_other_classes_first_for_other_seeds():
    y = torch.arange(60) % 3
    assert len({tuple(balanced_subset(y, 3, seed).tolist()) for seed in range(8)}) > 5
    assert len({y[balanced_subset(y, 3, seed)[:1]].item() for seed in range(30)}) == 3
    for seed in range(3):
        smaller, larger = balanced_subset(y, 7, seed), balanced_subset(y, 20, seed)
        assert smaller.tolist() == larger[:7].tolist()


def test_labelled_examples_and_the_pool_are_chosen_by_keys_of_their_own():
    whole = table().splits().train
    for seed in (0, 3):
        chosen = balanced_subset(whole.y, 20, derive_seed(seed, "labels"))
        assert torch.equal(table(labels=20).splits(seed).train.x, whole.x[chosen])
        order = torch.randperm(60, generator=torch.Generator().manual_seed(derive_seed(seed, "unlabelled")))
        assert torch.equal(table(unlabelled=20).splits(seed).unlabelled, whole.x[order[:20]])
    data = table(unlabelled=20)
    assert torch.equal(data.splits().unlabelled, data.splits(0).unlabelled)
    assert data.for_pretraining().seed == 0


@pytest.mark.parametrize("unlabelled", [None, 20])
def test_inputs_that_came_without_labels_are_for_pretraining_after_the_others(unlabelled):
    more = torch.arange(1000.0, 1010).unsqueeze(1)
    data = table(more_inputs=more, unlabelled=unlabelled)
    pool = table(unlabelled=unlabelled).splits(2).unlabelled
    assert torch.equal(data.splits(2).unlabelled[:], torch.cat([pool, more]))


def test_a_budget_of_labels_needs_labels():
    with pytest.raises(
        ConfigError, match=r"^data\.labels 5 chooses labelled examples, but Arrays has no labels\. Name"
    ):
        Arrays(torch.rand(60, 2), labels=5).splits()
    assert Arrays(torch.rand(60, 2)).splits().train.y is None


def test_another_label_budget_shares_the_loaded_data():
    data = table()
    other = data.with_labels(8)
    assert other.source() is data.source()
    assert (other.labels, data.labels) == (8, None)
    assert len(other.splits().train) == 8


class Counted(Digits):
    loads = 0

    def load(self):
        type(self).loads += 1
        return super().load()


def test_data_are_loaded_once_and_again_in_another_process():
    data, Counted.loads = Counted(), 0
    data.splits(0), data.splits(1), data.with_labels(50).splits(), data.fingerprint()
    assert Counted.loads == 1
    data.with_split(1).splits()
    data.with_split(1).splits(4)
    data.with_split(0).splits()
    assert Counted.loads == 2
    copied = pickle.loads(pickle.dumps(data))
    assert copied._source is None
    assert copied._redivided == {}
    assert torch.equal(copied.splits(2).train.x, data.splits(2).train.x)
    assert Counted.loads == 3


def test_few_divisions_are_kept_and_of_large_data_one(monkeypatch):
    data = Digits()
    first = data.with_split(1)
    for seed in range(2, 9):
        data.with_split(seed)
    assert data.with_split(1) is first
    data.with_split(9)
    assert len(data._redivided) == 8
    assert data.with_split(1) is not first
    monkeypatch.setattr("aepretrain.data.base.DIVISIONS_BYTES", 8 * data._nbytes() - 1)
    last = data.with_split(10)
    assert data._redivided == {10: last}
    source = data.source()
    assert data._nbytes() == sum(split.x.numel() * 4 for split in (source.train, source.validation, source.test))


def test_as_many_divisions_are_kept_as_fit_exactly(monkeypatch):
    data = table()
    monkeypatch.setattr("aepretrain.data.base.DIVISIONS_BYTES", 8 * data._nbytes())
    first = data.with_split(1)
    data.with_split(2)
    assert data.with_split(1) is first


def test_another_division_has_a_transform_notes_and_warnings_of_its_own(monkeypatch):
    inspected = []
    monkeypatch.setattr(base, "inspect", lambda source, names: inspected.append(source) or [])
    data = Arrays(torch.rand(60, 3), torch.arange(60) % 2, transform="standardize")
    data.source()
    other = data.with_split(1)
    assert (other.split_seed, data.split_seed) == (1, 0)
    assert type(other.transform) is type(data.transform)
    assert other.source() is not data.source()
    assert not torch.equal(other.transform.state_dict()["mean"], data.transform.state_dict()["mean"])
    assert sum(note.startswith("divided ") for note in other.notes) == 1
    other.add_warnings(["of this division"])
    assert "of this division" not in data.warnings
    assert len(inspected) == 1  # the rows are the same


def test_what_a_source_says_of_itself_if_it_says_nothing():
    data = table()
    assert (data.raw_shape, data.feature_names, data.layer_defaults, data.settled()) == ((1,), None, {}, {})
    data.columns = ["a"]
    assert (data.feature_names, data.settled()) == (["a"], {"columns": ["a"]})
    transform = Standardize()
    data.use_transform(transform)
    assert data.transform is transform


@pytest.mark.parametrize("use", ["train", "val", "test", "predict"])
def test_loaders_give_the_examples_of_their_split(use):
    data, splits = table(400, labels=40), table(400, labels=40).splits()
    split = {"train": splits.train, "val": splits.validation}.get(use, splits.test)
    batches = list(getattr(data, f"{use}_dataloader")())
    found = torch.cat([batch[0] for batch in batches])
    if use == "train":
        assert numbers(found.sort(dim=0).values) == numbers(split.x.sort(dim=0).values) != numbers(found)
    else:
        assert numbers(found) == numbers(split.x)
    data.batch_size = 16
    sizes = [len(batch[0]) for batch in getattr(data, f"{use}_dataloader")()]
    assert sizes == ([16, 16, 8] if use == "train" else [80])


@pytest.mark.parametrize("use", ["train", "val", "test", "predict"])
def test_inputs_for_pretraining_are_those_of_the_splits_without_labels(use):
    data = table(400, unlabelled=100)
    splits, inputs = data.splits(2), data.for_pretraining(2, batch_size=32)
    expected = {"train": splits.unlabelled, "val": splits.validation.x}.get(use, splits.test.x)
    batches = list(getattr(inputs, f"{use}_dataloader")())
    assert all(len(batch) == 1 for batch in batches)
    found = torch.cat([batch[0] for batch in batches])
    assert numbers(found.sort(dim=0).values) == numbers(expected.sort(dim=0).values)
    assert [len(batch[0]) for batch in batches] == ([32, 32, 32, 4] if use == "train" else [80])
    if use == "train":
        again, other = data.for_pretraining(2, batch_size=32), data.for_pretraining(3, batch_size=32)
        assert numbers(torch.cat([batch[0] for batch in again.train_dataloader()])) == numbers(found)
        assert numbers(torch.cat([batch[0] for batch in other.train_dataloader()])) != numbers(found)
    assert data.for_pretraining().batch_size == data.batch_size == 128


def test_large_batches_of_training_are_those_of_validation_too():
    data = table(8000)
    assert [len(batch[0]) for batch in data.val_dataloader()] == [800, 800]
    data.batch_size = 2000
    assert [len(batch[0]) for batch in data.val_dataloader()] == [1600]
    assert [len(batch[0]) for batch in data.for_pretraining().test_dataloader()] == [1600]


class Given(Arrays):
    """A source of splits as they are."""

    def __init__(self, source):
        super().__init__(torch.zeros(4, 2), torch.arange(4) % 2)
        self.given = source

    def load(self):
        return self.given


def good(count=4):
    return Examples(torch.rand(count, 2), torch.arange(count) % 2)


BAD = Examples(torch.rand(4, 3), torch.arange(4) % 2)
WRONG = Examples(torch.rand(4, 2), torch.arange(4))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(BAD, good(), good()), "train split"),
        (Source(good(), BAD, good()), "validation split"),
        (Source(good(), good(), BAD), "test split"),
        (Source(WRONG, good(), good()), "train split"),
        (Source(good(), WRONG, good()), "validation split"),
        (Source(good(), good(), WRONG), "test split"),
        (Source(good(), good(), good(), unlabelled=torch.rand(4, 3)), "unlabelled inputs"),
        (Source(good()[:1], good(), good()), "training split: examples must be of at least 2 classes"),
    ],
)
def test_every_split_is_checked_and_named(source, message):
    with pytest.raises(DataError, match=f"Given, {message}"):
        Given(source).splits()


def test_warnings_are_said_once_and_names_belong_to_the_fingerprint():
    data = table()
    data.add_warnings(["a", "b"])
    data.add_warnings(["b", "c"])
    assert [each for each in data.warnings if len(each) == 1] == ["a", "b", "c"]
    data.source()
    before = list(data.warnings)
    data._source = None
    data.source()
    assert data.warnings == before
    assert (data.fingerprint().columns, data.fingerprint().classes) == (None, None)
    data.columns, data.class_names = ["x"], ["p", "q", "r", "s"]
    assert (data.fingerprint().columns, data.fingerprint().classes) == (("x",), ("p", "q", "r", "s"))


@pytest.mark.parametrize(("limit", "expected"), [(None, 4), (2**30, 4), (2**20, None)])
def test_reading_ahead_takes_at_most_an_eighth_of_the_memory(limit, expected):
    data = table()
    data.memory_limit = limit
    assert data.read_ahead == (WINDOWS * WINDOW if expected else limit // 8)


def test_a_source_can_be_printed():
    data = table(labels=20)
    assert str(data) == "Arrays: examples of shape (1,) in 4 classes"
    assert str(Arrays(torch.rand(9, 2))) == "Arrays: examples of shape (2,)"
    assert str(data.for_pretraining()) == "60 inputs of shape (1,) for pretraining"
