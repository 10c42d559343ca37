"""Tables in memory of Hugging Face's library; those of other libraries are in test_table.py."""

import pytest

from aepretrain import DataError, Table

datasets = pytest.importorskip("datasets")


@pytest.fixture
def birds():
    rows = {"mass": [*range(59), None], "island": ["Biscoe", "Dream", None] * 20, "sex": [0, 1, 0, 1, 1, -1] * 10}
    classes = datasets.ClassLabel(names=["female", "male"])
    return datasets.Dataset.from_dict(rows).cast_column("sex", classes)


def test_a_dataset_is_read_with_the_names_of_its_classes(birds):
    data = Table(birds, target="sex")
    assert data.class_names == ["female", "male"]
    assert data.feature_names == [
        "mass",
        "mass missing",
        "island=Biscoe",
        "island=Dream",
        "island=other",
        "island=missing",
    ]
    assert len(data.source().unlabelled) == 10


def test_chosen_and_sorted_rows_stay_in_their_order(birds):
    chosen = birds.filter(lambda row: row["mass"] is not None).select(range(58, 28, -1))
    assert Table(chosen, target="sex").read()[0].raw()[:3][:, 0].tolist() == [58, 57, 56]


def test_several_splits_and_streams_are_refused_with_the_way_out(birds):
    with pytest.raises(DataError, match=r"but is a DatasetDict\. Give one of its splits, such as data\['train'\]"):
        Table(datasets.DatasetDict({"train": birds}))
    with pytest.raises(DataError, match=r"but is a IterableDataset\. Load it without streaming"):
        Table(birds.to_iterable_dataset())
