import json

from aepretrain.tracking.metrics_file import MetricsFile


def test_every_scalar_is_a_row_and_stages_share_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, "00-plain").log_metrics({"epoch": 2, "train/loss": 1.5, "val/loss": 2.5}, step=30)
    MetricsFile(path, "01-sparse").log_metrics({"epoch": 0, "val/loss": float("nan")}, step=9)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [
        {"stage": "00-plain", "epoch": 2, "step": 30, "name": "train/loss", "value": 1.5},
        {"stage": "00-plain", "epoch": 2, "step": 30, "name": "val/loss", "value": 2.5},
        {"stage": "01-sparse", "epoch": 0, "step": 9, "name": "val/loss", "value": None},
    ]
