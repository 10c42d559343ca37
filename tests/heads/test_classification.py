import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from torch import nn

from aepretrain import Classifier, DataError, Digits, FineTuning, OneHotPatterns, RunContext, finetune
from aepretrain.data import Splits
from aepretrain.heads.classification import evaluate_classifier

QUIET = RunContext(progress=False)


def encoder():
    torch.manual_seed(1)
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Sigmoid())
    return nn.Sequential(first, nn.Sequential(nn.Linear(20, 12), nn.ReLU()))


def train(classifier, epochs=3, data=None, **context):
    return finetune(classifier, data or Digits(), FineTuning(epochs, 32), RunContext(progress=False, **context))


def test_logits_are_the_head_on_the_encoder():
    f = encoder()
    model = Classifier(f, 10)
    nn.init.normal_(model.head.weight)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model(x), f(x) @ model.head.weight.T + model.head.bias)


def test_a_probe_trains_the_head_alone_and_finetuning_the_whole():
    for freeze in (True, False):
        model = Classifier(encoder(), 10, freeze_encoder=freeze)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        train(model)
        changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == ({"head.weight", "head.bias"} if freeze else set(before))


def test_a_probe_on_raw_pixels_is_logistic_regression():
    data = Digits()
    pixels = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
    model = Classifier(pixels, 10, freeze_encoder=True, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))
    nn.init.eye_(model.encoder[1].weight)
    nn.init.zeros_(model.encoder[1].bias)
    train(model, epochs=40)
    splits = data.splits()
    reference = LogisticRegression(max_iter=2000).fit(splits.train.x.flatten(1), splits.train.y)
    expected = reference.score(splits.test.x.flatten(1), splits.test.y)
    assert evaluate_classifier(model, splits.test.x, splits.test.y).accuracy == pytest.approx(expected, abs=0.02)


def test_the_best_epoch_on_validation_data_is_kept():
    model = Classifier(encoder(), 10, optimizer=lambda p: torch.optim.SGD(p, lr=5.0))
    record = train(model, epochs=6).record
    splits = Digits().splits()
    accuracy = evaluate_classifier(model, splits.validation.x, splits.validation.y).accuracy
    assert accuracy == pytest.approx(record.metrics["val/accuracy"])
    assert 0 <= record.kept_epoch < 6


def test_the_figures_are_those_of_scikit_learn():
    model = Classifier(encoder(), 10)
    train(model, epochs=2)
    examples = Digits().splits().test
    found = evaluate_classifier(model, examples.x, examples.y, batch_size=37)
    logits = model(examples.x).detach()
    predicted, y = logits.argmax(dim=1).numpy(), examples.y.numpy()
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, labels=range(10), zero_division=0)
    assert found.accuracy == accuracy_score(y, predicted)
    assert found.error == pytest.approx(1 - found.accuracy)
    assert found.confusion_matrix == confusion_matrix(y, predicted).tolist()
    np.testing.assert_allclose(found.per_class.precision, precision, rtol=1e-5)
    np.testing.assert_allclose(found.per_class.recall, recall, rtol=1e-5)
    np.testing.assert_allclose(found.per_class.f1, f1, rtol=1e-5)
    assert found.loss == pytest.approx(log_loss(y, logits.double().softmax(dim=1), labels=range(10)), rel=1e-4)
    assert found.examples == 300


@pytest.mark.parametrize("freeze", [True, False])
def test_the_head_goes_on_any_encoder_and_a_probe_leaves_its_statistics_alone(freeze):
    convolutional = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    model = Classifier(convolutional, 10, code_features=3 * 6 * 6, freeze_encoder=freeze)
    before = {name: tensor.clone() for name, tensor in convolutional.state_dict().items()}
    train(model, epochs=1)
    same = [torch.equal(before[name], tensor) for name, tensor in convolutional.state_dict().items()]
    assert all(same) if freeze else not any(same)


def test_fine_tuning_never_touches_the_test_examples():
    class Untouchable(Digits):
        def splits(self, seed=0):
            whole = super().splits(seed)
            return Splits(whole.unlabelled, whole.train, whole.validation, test=None)

    assert train(Classifier(encoder(), 10), epochs=1, data=Untouchable()).record.epochs == 1


def test_max_norm_bounds_the_weights_into_every_unit():
    model = Classifier(encoder(), 10, max_norm=0.5, optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    train(model, epochs=1)
    for layer in (model.encoder[0][1], model.encoder[1][0], model.head):
        assert layer.weight.norm(dim=1).max() <= 0.5 + 1e-5


def test_learning_rates_fall_from_the_head_down_and_biases_do_not_decay():
    model = Classifier(
        encoder(), 10, layer_lr_decay=0.5, weight_decay=0.1, optimizer=lambda p: torch.optim.SGD(p, lr=1.0)
    )
    groups = model.configure_optimizers().param_groups
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rates[id(model.head.weight)] == (1.0, 0.1)
    assert rates[id(model.head.bias)] == (1.0, 0)
    assert rates[id(model.encoder[1][0].weight)] == (0.5, 0.1)
    assert rates[id(model.encoder[0][1].bias)] == (0.25, 0)
    assert len(rates) == len(list(model.parameters()))


def test_dropout_and_label_smoothing_are_for_training_alone():
    model = Classifier(encoder(), 10, dropout=0.5, input_dropout=0.2, label_smoothing=0.1)
    nn.init.normal_(model.head.weight)
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    model.train()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    expected = nn.functional.cross_entropy(model(x), y)
    torch.testing.assert_close(model.loss(x, y).mean(), expected)


def test_label_smoothing_is_that_of_torch():
    model = Classifier(encoder(), 10, label_smoothing=0.1)
    nn.init.normal_(model.head.weight)
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    torch.testing.assert_close(model.train().loss(x, y).mean(), nn.CrossEntropyLoss(label_smoothing=0.1)(model(x), y))


def kept(optimizer, made):
    made.append(optimizer)
    return optimizer


def test_a_scheduler_steps_once_per_epoch():
    made = []
    model = Classifier(
        encoder(), 10,
        optimizer=lambda p: kept(torch.optim.SGD(p, lr=1.0), made),
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.1),
    )  # fmt: skip
    train(model, epochs=3)
    assert made[0].param_groups[0]["lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_norm", 0.0), ("weight_decay", -1), ("layer_lr_decay", 0.0), ("layer_lr_decay", 1.1), ("label_smoothing", 1)],
)
def test_settings_outside_their_range_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must .*but got {value}"):
        Classifier(encoder(), 10, **{argument: value})


def test_what_cannot_be_classified_is_refused():
    with pytest.raises(ValueError, match="num_classes must be >= 2"):
        Classifier(encoder(), 1)
    with pytest.raises(ValueError, match="Give code_features"):
        Classifier(nn.Flatten(), 10)
    with pytest.raises(DataError, match="OneHotPatterns has no labels"):
        finetune(Classifier(encoder(), 2), OneHotPatterns(), FineTuning(1), QUIET)
