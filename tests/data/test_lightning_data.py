"""Data modules and loaders of Lightning users: read once, in order, whatever their loaders do."""

import gc
import os
import pickle
import re
import socket
import subprocess
from functools import partial

import pytest
import scipy.sparse
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torchvision.datasets import FakeData
from torchvision.transforms import Compose, RandomHorizontalFlip, ToTensor

from aepretrain import (
    Arrays,
    Classifier,
    ConfigError,
    DataError,
    DenoisingAutoencoder,
    Dense,
    Experiment,
    FineTuning,
    GreedyStack,
    LightningData,
    Pretraining,
    RunContext,
    TrainerOptions,
    finetune,
    from_loaders,
)
from aepretrain.data import fingerprint, lightning_data, row_store
from aepretrain.data.file_rows import FileRows

QUIET = RunContext(progress=False, trainer=TrainerOptions(accelerator="cpu"))
CPU = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
X = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 3
TRAIN, VALIDATION, TEST = (TensorDataset(X[part], Y[part]) for part in (slice(36), slice(36, 48), slice(48, 60)))


class Pictures(LightningDataModule):
    """A stock module: pictures of torchvision, divided at random in ``setup``, shuffled, the last batch dropped."""

    def __init__(self, size: int = 60, batch_size: int = 16) -> None:
        super().__init__()
        self.size, self.batch_size, self.calls = size, batch_size, []

    def prepare_data(self):
        self.calls.append("prepare")

    def setup(self, stage):
        self.calls.append(f"setup {stage}")
        data = FakeData(self.size, (1, 6, 6), 3, ToTensor())
        self.train, self.validation, self.test = random_split(data, [0.6, 0.2, 0.2])

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.validation, self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, self.batch_size)

    def teardown(self, stage):
        self.calls.append(f"teardown {stage}")


def loaders(batch_size=8, **options):
    return [DataLoader(TRAIN, batch_size, **options), DataLoader(VALIDATION, batch_size), DataLoader(TEST, batch_size)]


def same(a, b):
    return all(
        torch.equal(one, other)
        for split in ("train", "validation", "test")
        for one, other in zip(getattr(a, split).tensors(), getattr(b, split).tensors(), strict=True)
    )


def weights(stack):
    return torch.cat([value.flatten() for value in stack.state_dict().values()])


def test_a_stock_data_module_is_read_once_and_set_up_as_a_trainer_does():
    module = Pictures()
    splits = LightningData(module).splits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [36, 12, 12]
    assert module.calls == ["prepare", "setup fit", "teardown fit", "setup test", "teardown test"]


def test_every_row_arrives_with_its_label():
    rows = {tuple(FakeData(60, (1, 6, 6), 3, ToTensor())[k][0].flatten().tolist()): k for k in range(60)}
    splits = LightningData(Pictures()).splits()
    parts = [splits.train, splits.validation, splits.test]
    found = [rows[tuple(row.flatten().tolist())] for part in parts for row in part.x]
    assert sorted(found) == list(range(60))
    labels = [FakeData(60, (1, 6, 6), 3, ToTensor())[k][1] for k in found]
    assert torch.cat([part.y for part in parts]).tolist() == labels


def test_batch_size_and_shuffling_and_the_state_of_the_generators_change_nothing():
    torch.manual_seed(3)
    a = LightningData(Pictures(batch_size=7))
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    b = LightningData(Pictures(batch_size=32))
    assert torch.equal(before, torch.random.get_rng_state())
    assert same(a.splits(), b.splits())
    assert a.fingerprint() == b.fingerprint()


def test_loaders_give_the_splits_of_the_same_arrays():
    data = from_loaders(*loaders(shuffle=True, drop_last=True), labels=9)
    arrays = Arrays(X, Y, splits=["train"] * 36 + ["val"] * 12 + ["test"] * 12, labels=9)
    assert same(data.splits(), arrays.splits())
    assert data.fingerprint() == arrays.fingerprint()
    assert data.own_splits
    assert "as given by the loaders" in data.source().division


def test_splits_without_a_loader_are_taken_from_the_training_rows():
    two = from_loaders(*loaders()[:2])
    assert [len(part) for part in (two.splits().train, two.splits().validation)] == [29, 12]
    assert not two.own_splits
    one = LightningData(LightningDataModule.from_datasets(TensorDataset(X, Y)), validation=0.25)
    assert [len(part) for part in (one.splits().train, one.splits().validation)] == [33, 15]


def test_stack_head_and_experiment_take_modules_and_loaders_as_they_are(tmp_path):
    layer, length = lambda shape: DenoisingAutoencoder(shape, Dense(5)), Pretraining(2, 12)
    source = from_loaders(*loaders())
    plain = GreedyStack((4,), [layer]).fit(source, length, QUIET)
    for given in (loaders(5, shuffle=True), LightningDataModule.from_datasets(TRAIN, VALIDATION, TEST, batch_size=9)):
        assert torch.equal(weights(GreedyStack((4,), [layer]).fit(given, length, QUIET)), weights(plain))
    heads = [
        finetune(Classifier(plain.encoder, 3), given, FineTuning(2, 12), QUIET).head.state_dict()
        for given in (source, loaders(5, shuffle=True))
    ]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    experiment = Experiment(
        [layer], Pictures(), length, finetune=FineTuning(1, 12), trainer=QUIET.trainer, report=False
    )
    result = experiment.run(tmp_path / "run")
    assert (result.data.name, result.data.in_shape, result.data.fingerprint) == (
        "Pictures",
        (1, 6, 6),
        LightningData(Pictures()).fingerprint(),
    )


def test_the_source_is_itself_a_data_module_for_a_stock_trainer():
    data = from_loaders(*loaders())
    head = Classifier(nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.Tanh())), 3)
    trainer = Trainer(max_epochs=1, enable_progress_bar=False, enable_model_summary=False, **CPU)
    trainer.fit(head, data)
    assert trainer.global_step == 1


class Rows(Dataset):
    """Rows as a user's data set may give them."""

    def __init__(self, row, count=12):
        self.row, self.count = row, count

    def __len__(self):
        return self.count

    def __getitem__(self, k):
        return self.row(k)


def test_batches_may_be_dictionaries_whose_entries_are_named():
    rows = Rows(lambda k: {"image": X[k], "label": int(Y[k]), "id": k}, 60)
    data = from_loaders(DataLoader(rows, 8), x="image", y="label")
    assert torch.equal(data.x, X)
    assert torch.equal(data.y, Y)
    with pytest.raises(DataError, match=r"entry 0, but are a dictionary of 'image', 'label', 'id'\. Set x to"):
        from_loaders(DataLoader(rows, 8))


@pytest.mark.parametrize(
    "rows",
    [Rows(lambda k: X[k], 60), TensorDataset(X), Rows(lambda k: X[k].numpy(), 60), Rows(lambda k: (X[k],), 60)],
)
def test_batches_without_labels_are_for_pretraining_alone(rows):
    data = from_loaders(DataLoader(rows, 8, shuffle=True))
    assert torch.equal(data.x, X)
    assert data.num_classes is None
    assert from_loaders(DataLoader(TensorDataset(X, Y), 8), y=None).y is None


def test_labels_may_be_real_or_text_or_missing():
    assert from_loaders(DataLoader(TensorDataset(X, X.sum(1)), 8)).num_targets == 1
    assert from_loaders(DataLoader(TensorDataset(X, X.sum(1, keepdim=True)), 8)).num_targets == 1
    named = from_loaders(DataLoader(Rows(lambda k: (X[k], ["cat", "dog"][k % 2]), 60), 8))
    assert named.class_names == ["cat", "dog"]
    some = Y.where(Y != 2, -1)
    assert len(from_loaders(DataLoader(TensorDataset(X, some), 8)).source().unlabelled) == 20


def test_bytes_are_scaled_and_transforms_are_fitted_to_training_rows():
    pixels = (X * 255).byte()
    assert torch.equal(from_loaders(*[DataLoader(TensorDataset(pixels, Y), 8)] * 3).source().train.x, pixels / 255)
    scaled = from_loaders(*loaders(), transform="standardize").source().train.x
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=1e-5, rtol=0)


def test_samplers_that_choose_rows_are_read_in_order_and_weights_are_told():
    chosen = SubsetRandomSampler([5, 1, 3, 9, 7, 11])
    assert torch.equal(from_loaders(DataLoader(TRAIN, 2, sampler=chosen)).x, X[[1, 3, 5, 7, 9, 11]])
    weighted = DataLoader(TRAIN, 8, sampler=WeightedRandomSampler(torch.rand(36), 50))
    data = from_loaders(weighted, DataLoader(VALIDATION, 8))
    assert torch.equal(data.x[:36], X[:36])
    assert any("weights are not used, every row counts once" in warning for warning in data.warnings)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def test_a_stream_and_a_list_of_batches_keep_their_order():
    assert torch.equal(from_loaders(DataLoader(Stream(), 7)).x, X)
    batches = list(DataLoader(TensorDataset(X, Y), 7))
    assert torch.equal(from_loaders(batches).x, X)


class ShufflesItself(IterableDataset):
    def __iter__(self):
        order = torch.randperm(60)
        return iter(zip(X[order], Y[order], strict=True))


class Augments(Pictures):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


class WithoutTraining(LightningDataModule):
    pass


class Breaks(Pictures):
    def setup(self, stage):
        raise RuntimeError("the server\n  is away")


flipped = FakeData(24, (1, 6, 6), 3, Compose([RandomHorizontalFlip(), ToTensor()]))
uneven = Rows(lambda k: (torch.rand(3 + (k > 5), generator=torch.Generator().manual_seed(k)), k % 2))
one_hot = Rows(lambda k: (X[k], nn.functional.one_hot(Y[k], 3)))
REFUSED = {
    "random augmentation": (lambda: from_loaders(DataLoader(flipped, 8)), "first batch differs when it is read again"),
    "own shuffling": (lambda: from_loaders(DataLoader(ShufflesItself(), 8)), "first batch differs"),
    "one pass": (lambda: from_loaders(iter(list(loaders()[0]))), "first batch differs when it is read again"),
    "hook": (lambda: LightningData(Augments()), r"Augments\.on_after_batch_transfer changes batches during training"),
    "empty": (lambda: from_loaders(loaders()[0], DataLoader(Subset(TEST, []), 2)), "validation loader gives no batch"),
    "sizes": (
        lambda: from_loaders(DataLoader(uneven, 3)),
        r"one shape and type, but have \(3,\) torch.float32, \(4,\)",
    ),
    "splits": (
        lambda: from_loaders(loaders()[0], DataLoader(TensorDataset(X[:9, :3], Y[:9]), 9)),
        r"validation loader: inputs must have one shape and type, but have \(4,\) torch.float32, \(3,\) torch.float32",
    ),
    "labels of some": (
        lambda: from_loaders(loaders()[0], DataLoader(TensorDataset(X[:9]), 9)),
        "must give labels, or none, but validation gives none",
    ),
    "one-hot": (lambda: from_loaders(DataLoader(one_hot, 8)), r"must have the shape \(8,\), but have \(8, 3\)"),
    "several": (lambda: from_loaders({"a": loaders()[0]}), "one loader, but there are several. Join data sets"),
    "list": (lambda: from_loaders(loaders()[0], loaders()), "validation loader: there must be one loader"),
    "array": (lambda: from_loaders(X), r"but is of type Tensor\. Arrays go into ae\.Arrays\(x, y\)"),
    "no tensors": (lambda: from_loaders([("a", "b")]), "inputs must be tensors, but a batch holds a str at 0"),
    "no batch": (lambda: from_loaders([3]), "batches must be tensors, sequences or dictionaries, but are of type int"),
    "no training": (lambda: LightningData(WithoutTraining()), "WithoutTraining has no train_dataloader"),
    "breaks": (lambda: LightningData(Breaks()), r"Breaks cannot be read: RuntimeError: the server is away\. Mend"),
    "path": (
        lambda: Experiment([], "digits.npy"),
        "data must be a source, a LightningDataModule or loaders, but is a s",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_once_is_refused_in_one_line(case):
    make, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_rows_beyond_memory_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr("aepretrain.data.loaders.available_memory", lambda: 2000)
    read = []
    rows = Rows(lambda k: read.append(k) or X[k % 60], 1000)
    with pytest.raises(
        DataError, match=r"need 32 kB as float32 with their splits, but 2 kB are free\. Set memory_budget"
    ):
        from_loaders(DataLoader(rows, 10))
    assert len(read) == 20


def on_disk(make, folder, **settings):
    """The same data within a budget that they exceed, and the files that they went to."""
    data = make(memory_budget="1600B", cache=folder, **settings)
    assert isinstance(data.x, FileRows)
    return data, list(folder.iterdir())


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ((TRAIN, VALIDATION, TEST), {}),
        ((TRAIN, VALIDATION, TEST), {"transform": "standardize", "labels": 9}),
        ((TensorDataset(X, Y), VALIDATION), {"transform": "rank_gauss"}),
        ((TensorDataset((X * 255).byte(), Y),), {}),
        ((TensorDataset(X.double(), Y.where(Y != 2, -1)),), {"split_seed": 3}),
        ((TensorDataset(X.bfloat16(), X.sum(1)),), {"unlabelled": 20}),
        ((TensorDataset(X),), {"transform": "minmax"}),
    ],
)
def test_rows_beyond_the_budget_go_to_a_file_and_give_the_same_bits(tmp_path, given, settings):
    make = partial(from_loaders, *[DataLoader(rows, 7, shuffle=True) for rows in given])
    (tight, files), loose = on_disk(make, tmp_path, **settings), make(**settings)
    assert len(files) == 1
    assert isinstance(tight.splits().unlabelled, FileRows)
    assert torch.equal(tight.splits(5).unlabelled[:], loose.splits(5).unlabelled)
    for split in ("train", "validation", "test"):
        one, other = getattr(tight.splits(5), split), getattr(loose.splits(5), split)
        assert torch.equal(one.x[:], other.x)
        assert (one.y is None) == (other.y is None)
        assert one.y is None or torch.equal(one.y, other.y)
    assert tight.fingerprint() == loose.fingerprint()
    assert tight.source().division == loose.source().division
    assert tight.warnings == loose.warnings
    assert any("went to a file" in note for note in tight.notes)
    del tight, one
    gc.collect()
    assert not list(tmp_path.iterdir())


MORE = (X * 200).byte()


@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
@pytest.mark.parametrize(
    "more",
    [scipy.sparse.csr_array(MORE.float() / 7), X.double(), X.tolist(), MORE.long() % 2, MORE % 2, MORE.to_sparse()],
    ids=["scipy", "float64", "list", "int64", "uint8", "sparse tensor"],
)
def test_more_inputs_of_any_type_are_taken_beyond_the_budget_as_in_memory(tmp_path, more, kind):
    rows = TensorDataset((X * 200).to(kind), Y.where(Y != 2, -1))
    make = partial(from_loaders, DataLoader(rows, 8), more_inputs=more)
    try:
        loose = make()
    except DataError as error:  # bytes beside floats
        with pytest.raises(DataError, match=re.escape(str(error))):
            on_disk(make, tmp_path)
        return
    tight, files = on_disk(make, tmp_path)
    assert len(files) == 2
    pool = tight.splits().unlabelled
    assert isinstance(pool, FileRows)
    assert torch.equal(pool[:], loose.splits().unlabelled)
    assert torch.equal(torch.cat(list(pool.batches(7))), loose.splits().unlabelled)
    assert tight.fingerprint() == loose.fingerprint()
    assert pickle.loads(pickle.dumps(tight)).fingerprint() == loose.fingerprint()
    del tight, pool
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "size"), [(torch.uint8, 1), (torch.float32, 4), (torch.float64, 8)])
def test_the_room_for_a_file_is_that_of_its_type(tmp_path, monkeypatch, kind, size):
    asked = []
    monkeypatch.setattr(row_store, "probe", lambda folder, needed: asked.append(needed))
    data, (file,) = on_disk(partial(from_loaders, DataLoader(TensorDataset((X * 9).to(kind), Y), 8)), tmp_path)
    assert asked == [60 * 4 * size] == [file.stat().st_size]
    del data


def test_a_lock_is_made_in_the_folder_that_is_named(tmp_path, monkeypatch):
    (tmp_path / "home").touch()  # no folder can be made below it
    monkeypatch.setattr(lightning_data, "DEFAULT_CACHE", tmp_path / "home" / "cache")
    assert len(LightningData(Pictures(), cache=tmp_path / "cache").splits().train) == 36


def test_rows_beyond_the_size_that_is_sampled_have_one_fingerprint_in_memory_and_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "WHOLE", 100)
    monkeypatch.setattr(fingerprint, "SAMPLES", 5)
    make = partial(from_loaders, *loaders())
    assert on_disk(make, tmp_path)[0].fingerprint() == make().fingerprint()


def test_a_stack_and_a_head_are_the_same_from_a_file(tmp_path):
    layer, length = lambda shape: DenoisingAutoencoder(shape, Dense(5)), Pretraining(2, 12)
    stacks, heads = [], []
    for data in (on_disk(partial(from_loaders, *loaders()), tmp_path / "cache")[0], from_loaders(*loaders())):
        stacks.append(GreedyStack((4,), [layer]).fit(data, length, QUIET))
        heads.append(finetune(Classifier(stacks[-1].encoder, 3), data, FineTuning(2, 12), QUIET).head.state_dict())
    assert torch.equal(weights(stacks[0]), weights(stacks[1]))
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_another_process_opens_the_file_that_only_its_maker_removes(tmp_path):
    data, (file,) = on_disk(partial(from_loaders, *loaders()), tmp_path)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.splits().train.x[:], data.splits().train.x[:])
    del copy
    gc.collect()
    assert file.exists()


def test_the_file_of_a_killed_process_is_removed_by_the_next(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        pass
    dead, alive = (
        tmp_path / f"loaders-{socket.gethostname()}-{process}.rows.00.part" for process in (ended.pid, os.getpid())
    )
    dead.touch()
    alive.touch()
    _, files = on_disk(partial(from_loaders, *loaders()), tmp_path)
    assert len(files) == 2
    assert alive in files


def test_what_is_wrong_with_rows_in_a_file_is_told_as_in_memory(tmp_path):
    broken, clock = X.clone(), X.double() * 0 + torch.arange(60)[:, None] + 1.7e9
    broken[3, 1] = torch.nan
    with pytest.raises(DataError, match="row 3 of the validation loader, column 1"):
        on_disk(partial(from_loaders, loaders()[0], DataLoader(TensorDataset(broken, Y), 8)), tmp_path)
    with pytest.raises(DataError, match="column 0 has values too close for float32"):
        on_disk(partial(from_loaders, DataLoader(TensorDataset(clock, Y), 8)), tmp_path)
    large = TensorDataset(X.double().index_fill(0, torch.tensor(59), 1e300), Y)
    with pytest.raises(DataError, match=r"train loader: inputs must fit float32.* is 1e\+300 in row 59"):
        on_disk(partial(from_loaders, DataLoader(large, 8)), tmp_path)
    early = TensorDataset(X[:36].double().index_fill(0, torch.tensor(1), 1e300), Y[:36])
    with pytest.raises(DataError, match=r"train loader: inputs must fit float32.* is 1e\+300 in row 1 "):
        on_disk(partial(from_loaders, DataLoader(early, 8), DataLoader(TensorDataset(X.double(), Y), 8)), tmp_path)
    with pytest.raises(DataError, match=r"more_inputs.*shape"):
        on_disk(partial(from_loaders, *loaders(), more_inputs=X[:, :3]), tmp_path)
    with pytest.raises(ConfigError, match="of 400 B is too small: validation and test inputs need 384 B"):
        from_loaders(*loaders(), memory_budget=400, cache=tmp_path).source()
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_value_that_is_not_finite_is_named_by_its_loader_and_row():
    broken = X.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(DataError, match="row 3 of the validation loader, column 1"):
        from_loaders(loaders()[0], DataLoader(TensorDataset(broken, Y), 8))


def test_groups_are_given_in_the_order_of_the_loaders():
    data = from_loaders(DataLoader(TensorDataset(X, Y), 8, shuffle=True), groups=torch.arange(60) // 6)
    assert "by groups" in data.source().division
    with pytest.raises(ConfigError, match="LightningData is a source already and needs no LightningData"):
        LightningData(data)
    with pytest.raises(ConfigError, match="labels must be >= 1"):
        from_loaders(loaders()[0], labels=0)
