"""Bytes are divided by 255 by one rule, wherever they lie, and the encoder takes that along."""

import numpy as np
import pytest
import scipy.sparse
import torch

from aepretrain import Arrays, ConfigError, DataError, MappedArray
from tests.support.warned import special_warnings

GENERATOR = np.random.default_rng(0)
PICTURES = GENERATOR.integers(0, 256, (60, 2, 3), dtype=np.uint8)
COUNTS = GENERATOR.integers(0, 30, (60, 4), dtype=np.uint8)
MASKS = GENERATOR.integers(0, 2, (60, 4), dtype=np.uint8)


def sources(x, folder, **settings):
    np.save(folder / "x.npy", x)
    return [
        Arrays(x, **settings),
        Arrays(torch.from_numpy(x), **settings),
        MappedArray(str(folder / "x.npy"), **settings),
        MappedArray(str(folder / "x.npy"), memory_budget="1kB", validation=5, test=5, **settings),
    ]


@pytest.mark.parametrize(
    ("x", "scale", "divided", "note", "warnings"),
    [
        (PICTURES, "auto", True, "bytes of 64 and more, which are divided by 255", 0),
        (PICTURES, "none", False, "not divided by 255, as data.scale none says", 0),
        (PICTURES, "byte", True, "divided by 255, as data.scale byte says", 0),
        (COUNTS, "auto", False, "bytes up to 29, which are taken as they are", 1),
        (COUNTS, "none", False, "not divided by 255", 0),
        (COUNTS, "byte", True, "divided by 255", 0),
        (MASKS, "auto", False, "bytes up to 1, which are taken as they are", 0),
        (PICTURES.astype(np.float32), "byte", True, "divided by 255", 0),
    ],
)
def test_the_same_array_gives_the_same_input_everywhere(x, scale, divided, note, warnings, tmp_path):
    expected = torch.from_numpy(x).float() / (255 if divided else 1)
    for data in sources(x, tmp_path, scale=scale):
        splits = data.splits()
        found = torch.cat([part[:] for part in (splits.train.x, splits.validation.x, splits.test.x)])
        order = [found.flatten(1).tolist(), expected.flatten(1).tolist()]
        assert sorted(order[0]) == sorted(order[1])
        assert torch.equal(data.transform(torch.from_numpy(x)), expected)
        assert note in " ".join(data.notes)
        assert len(special_warnings(data)) == warnings
    if warnings:
        assert "reach only 29, so they are taken as counts and not divided by 255" in special_warnings(data)[0]


def test_floats_are_taken_as_they_are_and_say_nothing(tmp_path):
    for data in sources(PICTURES.astype(np.float32), tmp_path):
        assert data.splits().train.x[:].max() > 1
        assert "60 rows of shape (2, 3)" in data.notes[0]
        assert [note.split(" ")[0] for note in data.notes[1:]] == ["divided"]


def test_the_largest_byte_may_be_the_last_of_the_file(tmp_path):
    x = np.zeros((60, 4), np.uint8)
    x[-1, -1] = 64
    for data in sources(x, tmp_path):
        assert data.transform.divide_by == 255


def test_two_scalings_are_refused_and_a_transform_goes_before_auto(tmp_path):
    np.save(tmp_path / "x.npy", COUNTS)
    with pytest.raises(ConfigError, match=r"scale byte and data\.transform minmax both scale the data"):
        MappedArray(str(tmp_path / "x.npy"), scale="byte", transform="minmax")
    with pytest.raises(ConfigError, match="scale must be one of auto, none, byte, but is 'bytes'"):
        Arrays(COUNTS, scale="bytes")
    assert Arrays(PICTURES, transform="standardize").warnings == []


def test_sparse_bytes_are_bytes():
    x = PICTURES.reshape(60, 6)
    assert torch.equal(Arrays(scipy.sparse.csr_array(x)).splits().test.x, Arrays(x).splits().test.x)


def test_inputs_without_labels_must_have_the_scale_of_the_others():
    for x, more in ((PICTURES, PICTURES / 255), (PICTURES / 255, PICTURES)):
        with pytest.raises(DataError, match="must be of one scale, but only one of them holds bytes"):
            Arrays(x, more_inputs=more)
        assert len(Arrays(x, more_inputs=more, scale="none").splits().unlabelled) == 96
    assert Arrays(COUNTS, more_inputs=COUNTS + np.uint8(99)).transform.divide_by == 255
