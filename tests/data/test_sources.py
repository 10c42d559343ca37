import pickle
from hashlib import md5

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain import CIFAR10, MNIST, Arrays, ConfigError, DataError, Digits, FashionMNIST, OneHotPatterns
from aepretrain.data import balanced_subset


def rows(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def test_digits_are_split_alike_every_time_and_the_splits_do_not_overlap():
    a, b = Digits().splits(seed=0), Digits().splits(seed=1)
    assert torch.equal(a.train.x, b.train.x)
    assert torch.equal(a.test.y, b.test.y)
    assert len(a.train) + len(a.validation) + len(a.test) == 1797
    assert not rows(a.train.x) & rows(a.test.x)
    assert not rows(a.unlabelled) & rows(torch.cat([a.validation.x, a.test.x]))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_class_has_its_share_in_every_split(part):
    counts = getattr(Digits().splits(), part).y.bincount()
    assert counts.min() >= 0.9 * counts.float().mean()


def test_the_labelled_subset_is_balanced_seeded_and_nested():
    data = Digits(labels=103)
    y = data.splits(seed=0).train.y
    assert len(y) == 103
    assert y.bincount().max() - y.bincount().min() <= 1
    assert not torch.equal(data.splits(seed=0).train.x, data.splits(seed=1).train.x)
    small = Digits(labels=50).splits(seed=0).train.x
    assert rows(small) <= rows(data.splits(seed=0).train.x)
    assert len(data.splits().unlabelled) == 1197


def test_a_separate_pool_is_all_that_pretraining_sees_and_no_label_touches_it():
    splits = Digits(unlabelled=900, labels=100).splits(seed=3)
    assert len(splits.unlabelled) == 900
    assert not rows(splits.unlabelled) & rows(splits.train.x)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(3, 30), seed=st.integers(0, 5))
def test_a_balanced_choice_has_no_repetition_and_equal_classes(count, seed):
    y = torch.arange(60) % 3
    chosen = balanced_subset(y, count, seed)
    assert len(chosen.unique()) == count
    assert y[chosen].bincount(minlength=3).max() - y[chosen].bincount(minlength=3).min() <= 1


def test_a_choice_that_cannot_be_balanced_is_refused_naming_the_class():
    y = torch.tensor([0] * 50 + [1] * 3)
    with pytest.raises(DataError, match=r"class 1 has 3 training examples.* Lower data\.labels to 6 or less\."):
        balanced_subset(y, 20, 0)
    assert len(balanced_subset(y, 6, 0)) == 6
    with pytest.raises(ConfigError, match="1 labels are fewer than the 2 classes"):
        balanced_subset(y, 1, 0)
    with pytest.raises(ConfigError, match=r"data\.labels must be >= 1, but got 0"):
        Digits(labels=0)
    with pytest.raises(ConfigError, match=r"data\.labels 3 chooses labelled examples, but Arrays has no labels"):
        Arrays(np.zeros((9, 2), np.float32), labels=3).splits()
    with pytest.raises(ConfigError, match="must leave labelled examples"):
        Digits(unlabelled=5000).splits()


@pytest.mark.parametrize("source", [MNIST, FashionMNIST])
def test_the_real_image_files_are_split_50k_10k_10k(source, mnist_folder):
    splits = source(str(mnist_folder), download=False).splits()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (50_000, 10_000, 10_000)
    assert splits.train.x.shape[1:] == source.in_shape
    assert splits.train.x.min() == 0
    assert splits.train.x.max() == 1
    original = getattr(torchvision.datasets, source.__name__)(mnist_folder, train=True)
    assert torch.equal(splits.validation.x[0, 0], original.data[50_000] / 255)
    assert splits.validation.y[0] == original.targets[50_000]


def test_the_folder_may_be_named_by_the_environment(mnist_folder, monkeypatch):
    monkeypatch.setenv("AEPRETRAIN_DATA", str(mnist_folder))
    assert MNIST(download=False).folder() == mnist_folder


def test_cifar_is_read_from_its_own_file_format(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    written = {}

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()]

    def batch(name):
        written[name] = generator.integers(0, 256, (20, 3072), dtype=np.uint8)
        return write(name, {"data": written[name], "labels": [i % 10 for i in range(20)]})

    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [batch(f"data_batch_{k}") for k in range(1, 6)])
    monkeypatch.setattr(cifar, "test_list", [batch("test_batch")])
    meta = write("batches.meta", {"label_names": [str(i) for i in range(10)]})
    monkeypatch.setattr(cifar, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})

    splits = CIFAR10(str(tmp_path), download=False).splits()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (80, 20, 20)
    expected = torch.from_numpy(written["data_batch_1"][0].reshape(3, 32, 32)) / 255
    torch.testing.assert_close(splits.train.x[0], expected)


def test_what_is_not_in_the_folder_is_downloaded_once_if_that_is_allowed(tmp_path):
    asked = []

    class Reader:
        def __init__(self, folder, train, download):
            asked.append(download)
            if not download:
                raise RuntimeError("Dataset not found")
            self.data = torch.zeros(20, 28, 28, dtype=torch.uint8)
            self.targets = torch.arange(20) % 10

    class Remote(MNIST):
        reader = Reader

    assert len(Remote(str(tmp_path)).splits().train) == 16
    assert asked == [False, True, False, True]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="its files are not there"):
        Remote(str(tmp_path), download=False).splits()


def test_a_missing_folder_and_a_folder_without_data_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.root names the folder .*nowhere, which does not exist"):
        MNIST(str(tmp_path / "nowhere")).splits()
    with pytest.raises(DataError, match="could not be read"):
        MNIST(str(tmp_path), download=False).splits()


def test_patterns_are_one_hot_and_have_no_classes():
    data = OneHotPatterns(5)
    assert data.num_classes is None
    assert torch.equal(data.splits().unlabelled, torch.eye(5))
    with pytest.raises(ConfigError, match="must be >= 2, but got 1"):
        OneHotPatterns(1)


def test_arrays_are_divided_in_equal_proportions_and_unlabelled_ones_join_the_pool():
    x, y = np.random.default_rng(0).random((100, 4)), np.arange(100) % 4
    splits = Arrays(x, y, more_inputs=np.ones((30, 4)), validation=0.2, test=0.2).splits()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (60, 20, 20)
    assert len(splits.unlabelled) == 90
    assert splits.test.y.bincount().tolist() == [5, 5, 5, 5]
    assert rows(splits.unlabelled[-30:]) == {(1.0,) * 4}


@pytest.mark.parametrize(
    ("x", "y", "arguments", "message"),
    [
        (np.zeros((0, 4)), None, {}, "there are no examples"),
        (np.zeros(4), None, {}, r"need the shape \(N, ...\)"),
        (torch.empty(4, 2, device="meta"), None, {}, "must hold values, but are a tensor of device meta"),
        (np.array([["a", "b"]]), None, {}, "must be numbers"),
        (np.full((4, 2), np.nan), None, {}, "must be finite, but 4 of 4 examples"),
        (np.zeros((4, 2)), np.array([0, 1, 2]), {}, "4 examples need as many labels, but there are 3"),
        (
            np.zeros((4, 2)),
            np.array([0, 1, 2, -7]),
            {"num_classes": 3},
            r"must lie in \[0, 2\], but reach from -7 to 2",
        ),
        (np.zeros((4, 2)), np.array([0, 1, 2, 7]), {"num_classes": 3}, r"must lie in \[0, 2\], but reach from 0 to 7"),
        (np.zeros((4, 2)), np.array([0, 1, 0.5, 1]), {"target_type": "class"}, "must be whole numbers"),
        (np.zeros((4, 2)), np.array([[0], [1], [0], [1]]), {}, r"must have the shape \(4,\), but have \(4, 1\)"),
        (np.zeros((4, 2)), np.zeros(4, dtype=int), {}, "at least 2 classes"),
    ],
)
def test_bad_arrays_are_refused_by_what_is_wrong_with_them(x, y, arguments, message):
    with pytest.raises(DataError, match=message):
        Arrays(x, y, **arguments)


def test_a_separate_pool_is_joined_by_inputs_that_came_without_labels():
    x = torch.rand(100, 4, requires_grad=True)
    splits = Arrays(x, torch.arange(100) % 4, more_inputs=torch.ones(30, 4), unlabelled=40).splits()
    assert len(splits.unlabelled) == 70
    assert len(splits.train) == 20
    assert not splits.unlabelled.requires_grad


def test_a_standard_loader_of_lightning_may_use_the_data_module():
    data = Digits()
    assert [sum(len(x) for x, _ in loader()) for loader in (data.train_dataloader, data.test_dataloader)] == [1197, 300]
    assert sum(len(y) for _, y in data.val_dataloader()) == 300


def test_unlabelled_inputs_of_another_shape_and_too_few_examples_are_refused():
    with pytest.raises(DataError, match=r"must have the shape \(4,\), but have \(3,\)"):
        Arrays(np.zeros((10, 4)), more_inputs=np.zeros((5, 3))).splits()
    with pytest.raises(DataError, match="cannot be divided"):
        Arrays(np.zeros((1, 4))).splits()
    with pytest.raises(ConfigError, match="leave training data"):
        Arrays(np.zeros((10, 4)), validation=0.5, test=0.5).splits()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_rows_that_differ_in_length_are_refused():
    rows = [torch.rand(2), torch.rand(3), torch.rand(2)]
    with pytest.raises(DataError, match="must have rows of one length, but are a nested tensor"):
        Arrays(torch.nested.nested_tensor(rows))
    with pytest.raises(DataError, match="Give rows of one length"):
        Arrays([row.tolist() for row in rows])
