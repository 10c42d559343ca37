"""Two processes find what one finds, to the last example of an odd last batch."""

import json

import pytest

from tests.training.test_distributed import ROOT, start

PROGRAM = ROOT / "tests" / "support" / "uneven.py"


@pytest.mark.parametrize("engine", ["loop", pytest.param("lightning", marks=pytest.mark.soak)])
def test_two_processes_find_every_figure_of_one(engine, tmp_path):
    for processes in (1, 2):
        start([PROGRAM, tmp_path / f"{processes}.json", processes, engine], 29521)
    alone, two = (json.loads((tmp_path / f"{processes}.json").read_text()) for processes in (1, 2))
    assert set(alone) == set(two) >= {"odd", "less than processes"}
    for case, found in two.items():
        expected = alone[case]
        assert found["steps"] == expected["steps"]
        assert found["weights"] == pytest.approx(expected["weights"], abs=1e-6), case
        for row, other in zip(found["rows"], expected["rows"], strict=True):
            assert row == pytest.approx(other, abs=1e-6, rel=1e-6), case
