"""What the runs of a comparison show to be wrong stands beside its verdict."""

import json

import yaml

from aepretrain.cli.main import main
from aepretrain.results.comparison import ArmResult, BudgetResult, ComparisonResult

CODER = {"class_path": "Dense", "init_args": {"features": 16}}


def test_a_comparison_says_which_trainings_were_too_short_and_which_baseline_is_better(tmp_path, capsys):
    settings = {
        "data": "Digits",
        "report": False,
        "layers": [{"class_path": "DenoisingAutoencoder", "init_args": {"coder": CODER}}],
        "pretrain": {"epochs": 2},
        "finetune": {"epochs": 4, "batch_size": 16},
        "classifier": {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}},
        "compare": {"seeds": 2, "labels": [100], "arms": ["pretrained", "random"], "baselines": ["knn"]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert main(["compare", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]) == 0
    words = " ".join(capsys.readouterr().out.split())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (short,) = [each for each in summary["warnings"] if "validation loss still falls" in each]
    runs = [f"{arm}-100-seed{seed}" for arm in ("pretrained", "random") for seed in (0, 1)]
    assert short.startswith(f"{', '.join(runs[:3])} and 1 more: classifier: its validation loss still falls")
    assert f"warning: {short}" in words
    for run in runs:
        own = json.loads((tmp_path / "out" / "runs" / run / "results.json").read_text())["warnings"]
        assert any(each.startswith("classifier: its validation loss still falls") for each in own)
    assert "A simple classifier on the raw input is better than every network: knn at 100 labels (" in words


def test_a_baseline_is_better_only_if_its_mean_is_above_that_of_every_network():
    def result(**means):
        arms = {name: ArmResult(mean, 0.01, 0.02, 3) for name, mean in means.items()}
        best = max(means, key=means.get)
        budget = BudgetResult(labels=50, arms=arms, differences={}, verdict=None, best=best)
        return ComparisonResult("Digits", 3, 1, 300, 300, (budget,)).better_baselines(["knn", "svm"])

    assert result(pretrained=0.8, random=0.7, knn=0.75) is None
    assert result(knn=0.8, svm=0.7) is None
    assert "svm at 50 labels (90.0% against 80.0%)." in result(pretrained=0.8, random=0.7, svm=0.9)
