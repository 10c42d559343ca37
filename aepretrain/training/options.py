"""Options for hardware, precision, checkpoints and the length of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aepretrain.errors import ConfigError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
OnNaN = Literal["stop", "skip"]
Engine = Literal["loop", "lightning"]
Steps = Literal["auto", "launched", "recorded", "compiled"]
MatmulPrecision = Literal["highest", "high", "medium"]
CodeType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class TrainerOptions:
    """Devices, precision and training loop, the same for pretraining and fine-tuning.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu`` or another Lightning accelerator.
        devices: Number of devices per machine, or ``auto`` for all of them.
        strategy: ``auto``, ``ddp`` or another Lightning strategy.
        num_nodes: Number of machines.
        precision: ``32-true``, or mixed precision with bfloat16 or float16.
        engine: ``loop`` is the built-in loop, which resumes bit for bit. ``lightning`` trains each stage with a stock
            Lightning Trainer, which supports callbacks; an interrupted stage then starts again.
        steps: ``auto`` records each shape of steps once and repeats it without the overhead of Python and autograd,
            where that is possible: on the CPU, in one process, with a fused optimizer and modules of torch and
            aepretrain. ``recorded`` does the same with classes of your own, which must compute from the batch, the
            weights and ``self.noise`` alone. ``launched`` runs every operation anew. Recorded steps give the bits of
            launched ones, except for matrices of at least 65,536 weights under plain SGD, which differ by rounding.
            ``compiled`` also compiles the recorded steps of whole batches with a C++ compiler, which takes 10 to 30
            seconds per stage the first time; they differ by rounding. ``auto`` does so in stages of pretraining of at
            least 600,000 steps and at most 100,000 weights. Where nothing can be compiled, steps are recorded.
        gradient_clip_val: Largest total norm of the gradients of a step; larger gradients are scaled down to it.
        accumulate: Compute the gradient of a step in this many parts, one after another: less memory, the same step up
            to rounding and noise draws. Validation batches shrink alike. A penalty on the mean of a batch
            (``KLSparsity``) uses the means of the parts.
        chunk_steps: Optimizer steps between checks of signals, clocks and losses, or up to the end of a compiled block;
            ``None``: as many as take 0.05 to 0.2 seconds. Results do not depend on it.
        float32_matmul: Precision of float32 matrix products in training, on devices that support several: ``highest``
            is float32; ``high`` is TF32 on a GPU, with 10 bits of mantissa instead of 23, and several times as fast;
            ``medium`` is bfloat16. ``None`` keeps torch's setting, which is ``highest``.

    Raises:
        ConfigError: If a number is not positive, ``accumulate`` is combined with the Lightning engine, or the strategy
            spawns or forks processes.

    Example:
        >>> TrainerOptions(devices=2, strategy="ddp", precision="bf16-mixed").for_fabric()["devices"]
        2
    """

    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    num_nodes: int = 1
    precision: Precision = "32-true"
    engine: Engine = "loop"
    steps: Steps = "auto"
    gradient_clip_val: float | None = None
    accumulate: int = 1
    chunk_steps: int | None = None
    float32_matmul: MatmulPrecision | None = None

    def __post_init__(self) -> None:
        clip, parts, steps = self.gradient_clip_val, self.accumulate, self.chunk_steps
        if clip is not None and not 0 < clip < float("inf"):
            raise ConfigError(f"trainer.gradient_clip_val must be > 0, but got {clip}. null leaves gradients alone.")
        if parts < 1:
            raise ConfigError(f"trainer.accumulate must be >= 1, but got {parts}. 1 computes a step in one part.")
        if steps is not None and steps < 1:
            raise ConfigError(f"trainer.chunk_steps must be >= 1, but got {steps}. null chooses by the time of a step.")
        if self.engine == "lightning" and parts > 1:
            raise ConfigError("trainer.accumulate is for trainer.engine loop. Use a smaller batch_size with lightning.")
        if any(word in self.strategy for word in ("spawn", "fork", "notebook")):
            raise ConfigError(
                f"trainer.strategy {self.strategy} starts processes by spawn or fork, and what they find is lost. Use "
                "ddp, from a program and not from a notebook."
            )

    def for_fabric(self) -> dict[str, Any]:
        """The arguments that Lightning's Fabric and Trainer have in common."""
        return {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "strategy": self.strategy,
            "num_nodes": self.num_nodes,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class StageSettings:
    """Training settings of one stage.

    Args:
        name: Name of the stage: a folder, a key of the metrics, a part of every seed.
        epochs: Maximum number of epochs, at least 1.
        batch_size: Examples per optimizer step, over all processes.
        patience: Stop after this many validations without improvement; ``None``: never.
        validate_every: Epochs from one validation to the next.
        keep_best: Restore the weights of the best epoch at the end, instead of keeping the last.
        frozen: Measure the module on the validation data as it is, instead of training it.
        may_go_on: Whether more epochs may be added later, so that a last checkpoint is of use.

    Example:
        >>> StageSettings("00-sparse", epochs=5, batch_size=32).patience
    """

    name: str
    epochs: int
    batch_size: int
    patience: int | None = None
    validate_every: int = 1
    keep_best: bool = False
    frozen: bool = False
    may_go_on: bool = False


@dataclass(frozen=True)
class Saving:
    """How often a stage saves a checkpoint; it also saves one when SIGTERM or Ctrl-C asks it to stop.

    Args:
        every_minutes: Minutes from one checkpoint to the next; ``None``: not by time.
        every_steps: Steps from one checkpoint to the next; ``None``: not by steps. Compiled steps are saved at the end
            of their block.
        keep_last: Keep the last checkpoint of fine-tuning, four times the size of the network: ``fit --resume RUN
            --more-epochs N`` then goes on from it, instead of repeating the epochs before. ``compare`` keeps none.

    Raises:
        ConfigError: If a number is not positive.

    Example:
        >>> Saving(every_steps=1000).every_minutes
        5.0
    """

    every_minutes: float | None = 5.0
    every_steps: int | None = None
    keep_last: bool = False

    def __post_init__(self) -> None:
        if self.every_minutes is not None and not self.every_minutes > 0:
            raise ConfigError(f"checkpoint.every_minutes must be > 0, but got {self.every_minutes}. null turns it off.")
        if self.every_steps is not None and self.every_steps < 1:
            raise ConfigError(f"checkpoint.every_steps must be >= 1, but got {self.every_steps}. null turns it off.")


@dataclass(frozen=True)
class Pretraining:
    """Training length of each layer. A single value applies to all layers, a list has one value per layer.

    With ``unroll``, all encoders and decoders are trained together after the layers, with the batch size and the
    patience of the last layer; ``epochs`` may then be 0, for the same network from random weights.

    Args:
        epochs: Passes over the unlabelled examples.
        batch_size: Examples per optimizer step, over all processes.
        patience: Stop after this many validations without a better reconstruction, and keep the best validated epoch.
            ``None``: train all epochs and keep the last.
        validate_every: Epochs from one validation to the next.
        codes: Type in which the codes of all finished layers are kept: ``bfloat16`` and ``float16`` take half the
            memory or disk space, and round the codes.
        freeze_layers: Leave the lowest so many layers as ``warm_start`` gives them: their stages are not trained, but
            measured on validation data. Fine-tuning trains them all the same, unless ``classifier.freeze_layers`` is
            set, too.
        picture_epochs: After how many epochs the report shows what the first layer makes of pictures.
        unroll: Epochs in which all layers are then trained together on reconstruction; 0: none.

    Raises:
        ConfigError: If ``unroll`` is negative, or would train layers that are frozen.

    Example:
        >>> Pretraining(epochs=[15, 10], batch_size=20).of_layer(1, layers=2)
        (10, 20, None)
    """

    epochs: int | list[int] = 20
    batch_size: int | list[int] = 128
    patience: int | list[int | None] | None = None
    validate_every: int = 1
    codes: CodeType = "float32"
    freeze_layers: int = 0
    picture_epochs: tuple[int, ...] = (1, 9)
    unroll: int = 0

    def __post_init__(self) -> None:
        if wrong := [epoch for epoch in self.picture_epochs if epoch < 1]:
            raise ConfigError(
                f"pretrain.picture_epochs counts finished epochs, so each must be >= 1, but got {wrong[0]}. "
                "[] keeps none."
            )
        if self.unroll < 0:
            raise ConfigError(f"pretrain.unroll must be >= 0, but got {self.unroll}. 0 is none.")
        _check_validations("pretrain", self.validate_every, self.unroll, "epochs of unroll")
        if self.unroll and self.freeze_layers:
            raise ConfigError(
                f"pretrain.unroll trains all layers, but pretrain.freeze_layers {self.freeze_layers} keeps some of "
                "them. Set one of the two to 0."
            )

    def check_frozen(self, given: int) -> None:
        """Raise a ConfigError unless the frozen layers are among the ``given`` lowest, whose weights a run gave."""
        if not 0 <= self.freeze_layers <= given:
            begin = "from another run" if given else "from another run, and there is no warm_start"
            raise ConfigError(
                f"pretrain.freeze_layers must lie between 0 and the {given} layers that begin {begin}, but got "
                f"{self.freeze_layers}. A layer without trained weights passes on noise: name a run by warm_start, or "
                "lower the number."
            )

    def of_layer(self, k: int, layers: int) -> tuple[int, int, int | None]:
        """Epochs, batch size and patience of layer ``k`` in a stack of ``layers``.

        Raises:
            ConfigError: If the length of a list differs from that of the stack, or a number is out of range.
        """
        epochs, batch_size, patience = (
            _entry(getattr(self, name), name, k, layers) for name in ("epochs", "batch_size", "patience")
        )
        check_length("pretrain", epochs, batch_size, patience)
        if epochs == 0 and not self.unroll:
            raise ConfigError("pretrain.epochs must be >= 1, but got 0. A layer that never trains passes on noise.")
        _check_validations("pretrain", self.validate_every, epochs, f"epochs of layer {k}")
        return epochs, batch_size, patience

    def stage_settings(self, k: int, stages: Sequence[str]) -> StageSettings:
        """The stage settings of layer ``k``: its best epoch is kept if patience is set, else its last."""
        epochs, batch_size, patience = self.of_layer(k, len(stages))
        lengths = (max(epochs, 1), batch_size, patience, self.validate_every)
        frozen = k < self.freeze_layers or epochs == 0
        return StageSettings(stages[k], *lengths, keep_best=patience is not None, frozen=frozen)

    def unrolled_settings(self, stage: str, layers: int) -> StageSettings:
        """The settings of the stage that trains all ``layers`` together."""
        _, batch_size, patience = self.of_layer(layers - 1, layers)
        lengths = (self.unroll, batch_size, patience, self.validate_every)
        return StageSettings(stage, *lengths, keep_best=patience is not None)


@dataclass(frozen=True)
class FineTuning:
    """How long the head trains, and which epoch is kept: the best on validation data, by ``monitor``.

    Args:
        epochs: Passes over the labelled examples; 0 skips the head.
        batch_size: Examples per optimizer step, over all processes.
        patience: Stop after this many validations without a better one. ``None``: train all epochs.
        validate_every: Epochs from one validation to the next; only validated epochs can be kept.
        monitor: The figure that chooses the epoch: ``accuracy``, ``balanced_accuracy`` (mean recall of the classes),
            ``average_precision`` or ``loss``; with a real target ``loss``, ``r2``, ``rmse`` or ``mae``. Of equal ones
            the epoch with the smaller loss is kept. ``None``: the accuracy, or with a real target the loss.

    Raises:
        ConfigError: If a number is out of range.

    Example:
        >>> FineTuning(epochs=50, patience=10).batch_size
        128
    """

    epochs: int = 20
    batch_size: int = 128
    patience: int | None = None
    validate_every: int = 1
    monitor: str | None = None

    def __post_init__(self) -> None:
        check_length("finetune", self.epochs, self.batch_size, self.patience)
        _check_validations("finetune", self.validate_every, self.epochs, "epochs")

    def stage_settings(self, stage: str) -> StageSettings:
        """The stage settings: the best epoch is kept."""
        lengths = (self.epochs, self.batch_size, self.patience, self.validate_every)
        return StageSettings(stage, *lengths, keep_best=True, may_go_on=True)


def _entry(value: Any, name: str, k: int, layers: int) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if len(value) != layers:
        raise ConfigError(
            f"pretrain.{name} must be one value or one per layer: {len(value)} values for {layers} layers."
        )
    return value[k]


def _check_validations(group: str, every: int, epochs: int, of: str) -> None:
    """Raise a ConfigError unless the last epoch is validated."""
    if every < 1:
        raise ConfigError(f"{group}.validate_every must be >= 1, but got {every}. 1 validates after every epoch.")
    if epochs % every:
        raise ConfigError(
            f"{group}.validate_every must divide the {epochs} {of}, but got {every}. 1 validates after every epoch."
        )


def check_length(group: str, epochs: int, batch_size: int, patience: int | None) -> None:
    """Raise a ConfigError unless the numbers are in range."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int):
            raise ConfigError(f"{group}.{name} must be a whole number, but is {value!r}. Leave it out for the default.")
    if epochs < 0:
        raise ConfigError(f"{group}.epochs must be >= 0, but got {epochs}. Usual values are 10 to 100.")
    if batch_size < 1:
        raise ConfigError(f"{group}.batch_size must be >= 1, but got {batch_size}. Usual values are 20 to 1024.")
    if patience is not None and patience < 1:
        raise ConfigError(f"{group}.patience must be >= 1, but got {patience}. Leave it out to train all epochs.")
