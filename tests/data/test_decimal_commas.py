"""Numbers with decimal commas: read if it is said, else refused by name."""

import numpy as np
import pytest
import torch

from aepretrain import ConfigError, DataError, Table
from aepretrain.cli.first_look import look_at
from aepretrain.data.new_rows import open_new_rows

pa = pytest.importorskip("pyarrow")

K = np.arange(60)
WITH_POINTS = {
    "mass": [f"{k / 8 - 2:.3f}" for k in K],
    "size": [("0.5", "1.5", "", "-2e1")[k % 4] for k in K],
    "island": ["a,b" if k % 2 else "c" for k in K],
    "age": [f"{k % 7 + 0.25}" for k in K],
}
WITH_COMMAS = {name: [value.replace(".", ",") for value in column] for name, column in WITH_POINTS.items()}


def write(path, columns):
    lines = [";".join(columns), *(";".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(data):
    splits = data.splits()
    return torch.cat(
        [
            splits.train.x,
            splits.validation.x,
            splits.test.x,
            splits.train.y[:, None].expand(-1, splits.train.x.shape[1]),
        ]
    )


def test_commas_give_the_numbers_of_points_targets_included(tmp_path):
    settings = {"target": "age", "cache": tmp_path / "cache"}
    points = Table(write(tmp_path / "points.csv", WITH_POINTS), **settings)
    commas = Table(write(tmp_path / "commas.csv", WITH_COMMAS), decimal=",", **settings)
    assert commas.feature_names == points.feature_names
    assert commas.num_targets == 1
    assert torch.equal(rows(commas), rows(points))
    assert commas.fingerprint() == points.fingerprint()
    frame = Table(pa.table(WITH_COMMAS), decimal=",", **settings)
    assert torch.equal(rows(frame), rows(points))


def test_without_the_setting_such_columns_are_refused_by_name(tmp_path):
    path = write(tmp_path / "commas.csv", WITH_COMMAS)
    with pytest.raises(
        DataError,
        match=r"mass \(numbers with a comma, such as '-2,000'\), size \(numbers with a comma, such as '0,5'\).* "
        r"Decimal commas are read by --data\.decimal ','\.",
    ):
        Table(path, "age", cache=tmp_path)
    said = Table(path, "island", cache=tmp_path, drop=["mass", "age"], columns={"size": "category"})
    assert "size=0,5" in said.feature_names
    with pytest.raises(ConfigError, match=r"data\.decimal must be '\.' or ',', but is ';'"):
        Table(path, decimal=";")


def test_a_first_look_finds_commas_and_new_rows_are_read_as_those_of_the_run(tmp_path):
    path = write(tmp_path / "commas.csv", WITH_COMMAS)
    look = look_at(str(path), "age")
    assert look.settings["decimal"] == ","
    assert "decimal points" in look.remarks["decimal"]
    assert "decimal" not in look_at(str(write(tmp_path / "points.csv", WITH_POINTS)), "age").settings
    data = Table(path, "age", decimal=",", cache=tmp_path / "cache")
    data.source()
    settings = {"decimal": ",", "cache": str(tmp_path / "cache"), "target": "age"}
    new = open_new_rows(path, data.raw_shape, columns=None, settings=settings, transform=data.transform)
    assert new.x[:][:, 0].tolist() == [float(value) for value in WITH_POINTS["mass"]]


def test_a_cache_of_other_decimals_is_not_taken(tmp_path):
    path = write(tmp_path / "mixed.csv", {"a": [f"{k}" for k in K], "b": [("1,5", "2", "3")[k % 3] for k in K]})
    kinds = {"columns": {"b": "category"}, "cache": tmp_path / "cache"}
    text = Table(path, **kinds).read()[0].raw()[:]
    numbers = Table(path, decimal=",", cache=tmp_path / "cache").read()[0].raw()[:]
    assert text[0, 1] != numbers[0, 1] == 1.5
