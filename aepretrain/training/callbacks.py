"""What one stage needs around Lightning's loop: keyed noise, the record of its epochs, its best weights."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from aepretrain.data.rows import octets
from aepretrain.errors import AEPretrainError, DivergedError
from aepretrain.parts.noise import Noise, derive_seed
from aepretrain.training.figures import Figures


class KeyedNoise(Callback):
    """Give the module noise that is a function of (seed, stage, epoch, step, rank), never of what was drawn before.

    Args:
        seed: The run's seed.
        stage: The stage's name.
    """

    def __init__(self, seed: int, stage: str) -> None:
        self.seed = seed
        self.stage = stage

    def key(self, step: int) -> None:
        """Begin the noise of a step, counted in its epoch."""
        self.generator.manual_seed(derive_seed(self.seed, self.stage, self.epoch, step, self.rank))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.generator, self.rank = torch.Generator(device=pl_module.device), trainer.global_rank
        give_noise(pl_module, Noise(self.generator))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.epoch = trainer.current_epoch

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The same noise at every validation: epochs differ by their weights alone.
        self.generator.manual_seed(derive_seed(self.seed, self.stage, "validation", self.rank))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        give_noise(pl_module, Noise())


def give_noise(module: Any, noise: Noise) -> None:
    """Let a module's noise come from here."""
    module.noise = noise


class EpochRecord(Callback):
    """Record of every epoch: mean training loss, validation figures if any, and the seconds of training alone.

    Losses stay where they are computed, and are read once per epoch.

    Args:
        stage: The stage's name.
        skip: Leave out of the mean what is not finite.

    Raises:
        DivergedError: At the end of an epoch whose loss is not finite.
    """

    def __init__(self, stage: str, *, skip: bool = False) -> None:
        self.stage = stage
        self.skip = skip
        self.figures = Figures()
        self.epochs: list[dict[str, float]] = []
        self._losses: list[Tensor] = []
        self._examples: list[int] = []
        self._validation_seconds = 0.0
        self._validated = False
        self._epoch_seconds = 0.0
        self.seconds_before = 0.0
        """Seconds that the stage trained before it was interrupted."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_start = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter() - self._epoch_seconds

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._losses, self._examples = [], []
        self._validation_seconds = 0.0
        self._validated = False
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["losses"])
        self._examples += batch.sizes

    def _mean_loss(self, device: torch.device) -> Tensor:
        """Of the epoch so far, over the examples of this process: a sum in one order, however steps were grouped."""
        losses, examples = torch.cat(self._losses).double(), torch.tensor(self._examples, device=device)
        if losses.ndim == 2:
            examples = examples.unsqueeze(1)
        if self.skip:
            examples = examples * losses.isfinite()
            losses = losses.nan_to_num(0.0, 0.0, 0.0)
        return ((losses * examples).sum(dim=0) / examples.sum(dim=0)).float()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Every process has losses of its own, of equally many steps and examples.
        losses = torch.cat([torch.empty(0, device=pl_module.device), *self._losses])
        checkpoint["record"] = {
            "epochs": self.epochs,
            "losses": trainer.strategy.all_gather(losses).reshape(trainer.world_size, -1),
            "examples": self._examples,
            "seconds": time.perf_counter() - self._start,
            "seconds_before": self.seconds_before + time.perf_counter() - self._fit_start,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        kept, device = checkpoint["record"], trainer.strategy.root_device
        self.epochs, self._epoch_seconds, self.seconds_before = (
            kept[name] for name in ("epochs", "seconds", "seconds_before")
        )
        self._losses, self._examples = [kept["losses"][trainer.global_rank].to(device)], list(kept["examples"])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait_for(pl_module.device)
        self._validation_start = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.figures.publish(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.figures.log(trainer)
        self._validation_seconds += time.perf_counter() - self._validation_start
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait_for(pl_module.device)
        seconds = time.perf_counter() - self._start - self._validation_seconds
        device = pl_module.device
        self.figures.add({"train/loss": self._mean_loss(device), "epoch_seconds": torch.tensor(seconds, device=device)})
        self.figures.log(trainer)
        for name in ("train/loss", "val/loss", "val/reconstruction"):
            loss = trainer.callback_metrics.get(name)
            if loss is not None and not loss.isfinite():
                raise DivergedError(
                    f"{self.stage}: {name} of epoch {trainer.current_epoch + 1} is {loss.item()}. "
                    "Lower the learning rate of this stage, or look for extreme values in the data."
                )
        # Lightning keeps the figures of the last validation, also where this epoch had none.
        self.epochs.append(
            {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if self._validated or not name.startswith("val/")
            }
        )


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class BestWeights(Callback):
    """Keep the weights of the epoch with the best validation figure, and put them back when training ends.

    Every process keeps its own copy: the figure is the mean over all of them, hence so is the choice.

    Args:
        monitor: The figure.
        mode: ``min`` or ``max``.
    """

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor = monitor
        self.sign = {"min": -1.0, "max": 1.0}[mode]
        self.best = -float("inf")
        self.epoch = -1
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value > self.best:
            self.best, self.epoch = value, trainer.current_epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.weights:
            pl_module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch, self.weights = (state_dict[name] for name in ("best", "epoch", "weights"))


class WeightsArrived(Callback):
    """Check, before the first step, that a classifier's encoder holds the pretrained weights, bit for bit.

    Args:
        expected: Names and values of the pretrained encoder.

    Raises:
        AEPretrainError: At the start of training, if a tensor is missing, has another shape or another bit.
    """

    def __init__(self, expected: Mapping[str, Tensor]) -> None:
        self.expected = {name: tensor.detach().cpu().clone() for name, tensor in expected.items()}
        self.arrived = False

    def state_dict(self) -> dict[str, Any]:
        return {"arrived": self.arrived}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.arrived = state_dict["arrived"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.arrived:  # if they were there before the first step, they were trained since
            self.look(pl_module)

    def look(self, classifier: nn.Module) -> None:
        """Compare the weights that a classifier's encoder holds now."""
        found = classifier.get_submodule("encoder").state_dict()
        missing = self.expected.keys() ^ found.keys()
        differing = [
            name
            for name in self.expected.keys() & found.keys()
            if not _equal_bits(self.expected[name], found[name].cpu())
        ]
        if missing or differing:
            raise AEPretrainError(
                "the pretrained weights did not arrive in the classifier: "
                f"{', '.join(sorted([*missing, *differing]))} differ before the first step. "
                "Build the classifier on stack.encoder and do not initialize it again."
            )
        self.arrived = True


class RanksAgree(Callback):
    """Check, when training ends, that all processes hold the same weights, bit for bit.

    Raises:
        AEPretrainError: If they do not: what would be saved is then the weights of one process alone.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size == 1:
            return
        sums = torch.stack([_bit_sum(tensor) for tensor in pl_module.state_dict().values()])
        gathered = trainer.strategy.all_gather(sums)
        if not (gathered == gathered[0]).all():
            raise AEPretrainError(
                "the processes ended with different weights, so gradients were not synchronized. "
                "Please report this with your config; training with one device works."
            )


def _equal_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same bit for bit: 0 and -0 are not."""
    same_kind = one.shape == other.shape and one.dtype == other.dtype
    return same_kind and torch.equal(octets(one), octets(other))


def _bit_sum(tensor: Tensor) -> Tensor:
    """A sum of the bytes of a tensor, weighted by their places: it differs if one bit does, or two values change."""
    values = octets(tensor).to(torch.int64)
    return (values * torch.arange(1, len(values) + 1, device=tensor.device)).sum()
