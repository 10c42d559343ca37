"""A key that stands twice is refused with the file, the key and both lines."""

import pytest

from aepretrain.cli.main import main
from aepretrain.cli.repeated_keys import repeated_keys

LAYERS = "layers: [{class_path: PlainAutoencoder, init_args: {coder: {class_path: Dense, init_args: {features: 4}}}}]\n"


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\nreport: false\nseed: 2\n", "seed", "2 and 4"),
        ("classifier:\n  dropout: 0.1\n  max_norm: 3\n  dropout: 0.2\n", "classifier.dropout", "3 and 5"),
        ("classifier:\n  dropout: 0.1\nseed: 3\nclassifier:\n  max_norm: 3\n", "classifier", "2 and 5"),
        ("pretrain: {epochs: 2}\npretrain.epochs: 3\n", "pretrain.epochs", "2 and 3"),
        ("classifier.optimizer: SGD\nclassifier.optimizer.init_args.lr: 1\n", "classifier.optimizer", "2 and 3"),
        ("classifier.optimizer.init_args.lr: 1\nclassifier.optimizer: SGD\n", "classifier.optimizer", "2 and 3"),
        ("finetune: {\n  epochs: 1,\n  'epochs': 2}\n", "finetune.epochs", "3 and 4"),
        (
            "control:\n  layers:\n  - class_path: PlainAutoencoder\n    class_path: SparseAutoencoder\n",
            r"control.layers\[0\].class_path",
            "4 and 5",
        ),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, capsys, text, key, lines):
    path = tmp_path / "config.yaml"
    path.write_text(LAYERS + text)
    assert main(["validate", "--config", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    expected = f"{path}: {key} stands twice, in lines {lines}. Leave one of them out.".replace("\\", "")
    assert said == [f"aepretrain: error: {expected}"]


@pytest.mark.parametrize(
    "text",
    [
        "pretrain: {epochs: 2}\npretrain.batch_size: 4\n",
        "pretrain: {epochs: 2}\nfinetune: {epochs: 2}\n",
        "layers: [{class_path: A}, {class_path: A}]\n",
        "compare: {grid: {classifier.optimizer: [A, B], classifier.optimizer.init_args.lr: [1, 2]}}\n",
        "a: &here {b: 1}\nc: *here\nd: *here\n",
        "a: &here [*here]\n",
        "",
    ],
)
def test_what_stands_once_is_accepted(text):
    assert repeated_keys(text) == []


def test_a_value_in_braces_and_a_further_file_are_looked_at_too(tmp_path, capsys):
    config, lengths = tmp_path / "config.yaml", tmp_path / "pretrain.yaml"
    config.write_text(LAYERS)
    lengths.write_text("epochs: 3\nepochs: 4\n")
    assert main(["validate", "--config", str(config), "--pretrain", str(lengths)]) == 2
    assert f"--pretrain {lengths}: epochs stands twice, in lines 1 and 2." in capsys.readouterr().err
    assert main(["validate", "--config", str(config), '--data={"class_path": "Digits", "class_path": "MNIST"}']) == 2
    assert "class_path stands twice, in lines 1 and 1." in capsys.readouterr().err
