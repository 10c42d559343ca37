"""The networks of a finished run as ``encode``, ``predict`` and ``export`` use them, without the data of the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from aepretrain.cli.config import load_experiment
from aepretrain.cli.import_allowlist import trust
from aepretrain.console import counted, print_line
from aepretrain.data.new_rows import NewRows, open_new_rows
from aepretrain.errors import ConfigError
from aepretrain.export.autoencoder import StackedAutoencoder, load_autoencoder
from aepretrain.export.encoder import load_encoder
from aepretrain.export.heads import with_outputs
from aepretrain.export.module import Encoder
from aepretrain.export.row_files import Piece, write_rows
from aepretrain.heads import Head
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.results.head import HEADS
from aepretrain.results.run import RunResult
from aepretrain.runs.experiment import Experiment
from aepretrain.runs.loading import load_head, load_layers
from aepretrain.runs.row_outputs import RowOutputs
from aepretrain.storage.yaml_files import read_yaml
from aepretrain.training.recovery.signals import stop_at_signal


@dataclass(frozen=True)
class FinishedRun:
    """The directory of a finished run. Nothing is read from the data that it was trained on, which may be gone.

    Args:
        folder: The run directory.

    Raises:
        ConfigError: If it is no run directory, or one without an encoder.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "config.yaml").is_file():
            raise ConfigError(f"{self.folder} is not a run directory: it has no config.yaml. Name one that fit wrote.")
        if not (self.folder / "encoder" / "config.json").is_file():
            raise ConfigError(
                f"{self.folder} has no encoder folder: the run did not finish pretraining, or is a cell of a "
                "comparison. Name a finished run of fit."
            )

    @cached_property
    def encoder(self) -> Encoder:
        """The pretrained encoder, with the transform of raw values."""
        return load_encoder(self.folder / "encoder")

    @cached_property
    def fine_tuned(self) -> Encoder:
        """The encoder after fine-tuning.

        Raises:
            ConfigError: If the run did not fine-tune its encoder.
        """
        stages = [self.folder / "stages" / name for name in HEADS]
        path = next((stage for stage in stages if stage.is_dir()), stages[0]) / "encoder"
        if not (path / "config.json").is_file():
            raise ConfigError(f"{self.folder} has no fine-tuned encoder. Take --encoder pretrained.")
        return load_encoder(path)

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, with shape and classes in place of the data."""
        found = RunResult.read(self.folder / "results.json").data
        arguments = {"in_shape": list(found.in_shape), "num_classes": found.classes, "num_targets": found.targets}
        data = {"class_path": "aepretrain.data.recorded.RecordedData", "init_args": arguments}
        return load_experiment(self.folder / "config.yaml", data)

    @cached_property
    def stack(self) -> GreedyStack:
        """The pretrained stack, in evaluation mode.

        Raises:
            StorageError: If the weights of a layer are missing, damaged, or those of another layer.
        """
        stack = self.experiment.build_stack()
        load_layers(stack, self.folder)
        return stack

    @cached_property
    def autoencoder(self) -> StackedAutoencoder:
        """The pretrained layers, with their decoders."""
        return load_autoencoder(self.folder / "encoder")

    @cached_property
    def classifier(self) -> Head | None:
        """The classifier or regressor; ``None`` if the run trained none."""
        return load_head(self.experiment, self.folder) if self.experiment.has_classifier else None

    @cached_property
    def outputs(self) -> Encoder:
        """The classifier or regressor as a map of raw values to probabilities or predicted values.

        Raises:
            ConfigError: If the run trained none.
        """
        if self.classifier is None:
            raise ConfigError(f"{self.folder} has no classifier, since the run trained none. Train one with labels.")
        network = with_outputs(self.classifier, self.encoder)
        what = "the probabilities of the classes" if self.classifier.predicts_classes else "predicted values"
        network.provenance["weights"] = f"trained with labels; outputs are {what}"
        return network

    @property
    def source_settings(self) -> Mapping[str, Any]:
        """The settings of the data source that the run was trained on."""
        data = read_yaml(self.folder / "config.yaml", "Run fit again.")[1].get("data")
        return data["init_args"] if isinstance(data, dict) and isinstance(data.get("init_args"), dict) else {}

    def open(self, path: Path) -> NewRows:
        """Open new rows for this run, and print what was read.

        Raises:
            DataError: If they cannot be read, or do not have the columns or the shape of the run's data.
        """
        encoder, settings = self.encoder, self.source_settings
        rows = open_new_rows(
            path, encoder.in_shape, columns=encoder.columns, settings=settings, transform=encoder.transform
        )
        for note in rows.notes:
            print_line(f"data: {note}")
        return rows


def load_classifier(run: str | Path, *, trusted: Sequence[str] = ()) -> Encoder:
    """Load the classifier or regressor of a finished run as a plain torch module of raw values.

    Args:
        run: The run directory. The data of the run may be gone.
        trusted: Modules of your own whose layers and heads the run has, as ``--trust-module`` names them.

    Returns:
        The map of raw values ``(B, *in_shape)`` to probabilities of the classes ``(B, K)``, named by its
        ``class_names``, or to predicted values in units of the target ``(B, 1)``; on the CPU and in evaluation mode.

    Raises:
        ConfigError: If it is no run directory, or the run trained no head.
        StorageError: If a file is missing or damaged.

    Example:
        >>> classifier = load_classifier("runs/digits")  # doctest: +SKIP
        >>> classifier(torch.rand(5, 1, 8, 8)).shape  # doctest: +SKIP
        torch.Size([5, 10])
    """
    if trusted:
        trust(trusted)
    return FinishedRun(Path(run).expanduser()).outputs


def depth_of(layers: nn.Sequential, layer: int | None) -> int:
    """The number of layers up to that which ``--layer`` names, from 0; ``None``: all of them.

    Raises:
        ConfigError: If there is no such layer.

    Example:
        >>> depth_of(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), 0)
        1
    """
    count = len(layers)
    if layer is not None and not 0 <= layer < count:
        raise ConfigError(f"--layer must be 0 to {count - 1}, but is {layer}: the run has {count} layers.")
    return count if layer is None else layer + 1


def write_outputs(outputs: RowOutputs, rows: NewRows, out: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Write the values of rows, with their ids and labels where the format has room for them, under a progress bar.

    Args:
        outputs: Computes them.
        rows: The rows.
        out: The file.
        names: Column names of the elements of vectors, by the name of the value.

    Raises:
        StorageError: If the file cannot be written.
    """
    with stop_at_signal(f"while {out} was written, which is not there yet"):
        write_rows(out, _with_ids(outputs, rows, alone=out.suffix == ".npy"), len(rows), names)
    print_line(f"{len(rows):,} rows: {', '.join(outputs.names)}  {out}")


def _with_ids(outputs: RowOutputs, rows: NewRows, *, alone: bool) -> Iterator[Piece]:
    beside = {} if alone else {name: _as_array(x) for name, x in (("id", rows.ids), ("label", rows.labels)) if x}
    done = 0
    with counted(len(rows)) as count_on:
        for piece in outputs.of(rows.x):
            count = len(next(iter(piece.values())))
            yield {**{name: x[done : done + count] for name, x in beside.items()}, **piece}
            done += count
            count_on(count)


def _as_array(values: Sequence[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    return np.asarray([str(value) for value in values]) if array.dtype == object else array
