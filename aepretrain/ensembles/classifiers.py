"""Many classifiers of one architecture, trained side by side."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepretrain.ensembles.batch import SeedBatch, reason_optimizer_not_batchable
from aepretrain.export.architecture import BY_EXAMPLE
from aepretrain.heads.classification import Classifier


def reason_not_batchable(classifier: Classifier) -> str | None:
    """Return why classifiers like this one cannot be trained side by side; ``None`` if they can.

    Example:
        >>> reason_not_batchable(Classifier(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), 2))
        >>> reason_not_batchable(Classifier(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), 2))
        "the encoder's BatchNorm1d is not known to treat examples by themselves"
    """
    if type(classifier) is not Classifier:
        return f"the classifier {type(classifier).__name__} is not known to treat examples by themselves"
    if classifier.class_weights is not None:
        return "class_weights differ from seed to seed"
    if classifier.monitor == "val/average_precision":
        return "average_precision ranks the examples of one seed"
    if not classifier.freeze_encoder and not all(weight.requires_grad for weight in classifier.encoder.parameters()):
        return "a part of the encoder is frozen"
    for module in classifier.encoder.modules():
        if type(module) is not nn.Sequential and type(module) not in BY_EXAMPLE.values():
            return f"the encoder's {type(module).__name__} is not known to treat examples by themselves"
        if isinstance(module, nn.Linear) and module.bias is None:
            return "a linear layer of the encoder has no bias"
        if not isinstance(module, nn.Linear) and list(module.parameters(recurse=False)):
            return f"the encoder's {type(module).__name__} has weights, and only linear layers are trained side by side"
    return reason_optimizer_not_batchable(classifier)


class SeedClassifiers(SeedBatch):
    r"""S classifiers that differ only in their weights. The loss of seed s is its cross-entropy.

    Args:
        classifiers: The classifiers; :func:`reason_not_batchable` must return ``None`` for them.

    Example:
        >>> batch = SeedClassifiers([Classifier(nn.Linear(6, 3), num_classes=2) for _ in range(4)])
        >>> batch.mean(batch.loss(torch.rand(4 * 5, 6), torch.arange(4 * 5) % 2)).shape
        torch.Size([4])
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        super().__init__(classifiers)
        self._hits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        logits = self.model(x)
        self._hits.append((logits.argmax(dim=1) == y).reshape(self.seeds, -1))
        self._labels.append(y.reshape(self.seeds, -1))
        return {"loss": F.cross_entropy(logits, y, reduction="none")}

    def validation_totals(self) -> dict[str, Tensor]:
        hits, labels = torch.cat(self._hits, dim=1).float(), torch.cat(self._labels, dim=1)
        self._hits, self._labels = [], []
        counts = hits.new_zeros(self.seeds, self.model.num_classes)
        support, correct = counts.scatter_add(1, labels, torch.ones_like(hits)), counts.scatter_add(1, labels, hits)
        accuracy, balanced = hits.mean(dim=1), (correct / support).nanmean(dim=1)
        return {"accuracy": accuracy, "error": 1 - accuracy, "balanced_accuracy": balanced}
