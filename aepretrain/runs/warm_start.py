"""Warm start: a stack that begins with the layers and the preprocessing of another run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.console import print_line
from aepretrain.data.base import DataModule
from aepretrain.data.paths import user_path
from aepretrain.errors import ConfigError, StorageError
from aepretrain.export.architecture import describe
from aepretrain.export.decoders import DECODERS, has_decoders, pack_decoders
from aepretrain.export.encoder import load_encoder, read_encoder_config
from aepretrain.layers.base import Layer
from aepretrain.layers.coding import CodingLayer
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.run import WarmStarted
from aepretrain.storage.files import make_folder, write_atomically
from aepretrain.storage.guard import inside, open_regular
from aepretrain.training.recovery.run_state import STATE, WEIGHTS, layer_stages
from aepretrain.training.recovery.stage_files import StageFiles

KEPT = "warm_start"
"""Folder of a run directory with what the run began from, in the files and folders of the other run."""
ENCODER = "encoder"


@dataclass(frozen=True)
class WarmStart:
    """The pretrained layers of another run, from which a stack begins, with the fitted preprocessing of that run.

    Layers are taken from the input up. They must have the coders of that run; the number of classes may be another, as
    only the encoder is taken. Layers above them begin at random.

    Args:
        run: The run directory of ``fit``, finished or at least pretrained.
        layers: Number of layers to take; ``None``: as many as both have.
        sha256: The SHA-256 of the encoder in that directory, as ``config.json`` there has it; ``None``: any.
        copy: A copy of the run that is read in its place: see :meth:`found_in`.

    Raises:
        ConfigError: If ``layers`` is below 1.

    Example:
        >>> WarmStart("runs/digits", layers=1).layers
        1
    """

    run: str | Path
    layers: int | None = None
    sha256: str | None = None
    copy: Path | None = None

    def __post_init__(self) -> None:
        if self.layers is not None and self.layers < 1:
            raise ConfigError(f"warm_start_layers must be >= 1, but got {self.layers}. Leave it out to take them all.")

    @property
    def folder(self) -> Path:
        """The folder that is read: the run directory, with ``~`` expanded, or its copy."""
        return self.copy or user_path(self.run)

    def found_in(self, out: Path | None) -> Self:
        """The same, read from the copy that :meth:`keep` wrote to a run directory, if it is complete there."""
        if out is None or not (out / KEPT / ENCODER / "config.json").is_file():
            return self
        return replace(self, copy=out / KEPT)

    def identify(self) -> str:
        """The SHA-256 of the encoder of the run, which identifies its weights and its preprocessing.

        Raises:
            ConfigError: If the directory has no encoder, or another one than ``sha256`` names.
            StorageError: If its ``config.json`` is damaged.
        """
        if not (self.folder / ENCODER / "config.json").is_file():
            raise ConfigError(
                f"warm_start: {self.run} has no encoder folder, so it is no run of fit that finished pretraining. Name "
                "the directory of one."
            )
        found = str(read_encoder_config(self.folder / ENCODER)["sha256"])
        if self.sha256 not in (None, found):
            raise ConfigError(
                f"warm_start: the encoder in {self.run} must have the SHA-256 {self.sha256}, but has {found}: it is "
                "another run now. Put that run back, or leave warm_start_sha256 out to begin from this one."
            )
        return found

    def prepare_data(self, data: DataModule) -> None:
        """Scale the data by the transform that the run fitted, instead of one fitted to these data.

        Args:
            data: The data of the new run; they are read again if they were read before.

        Raises:
            ConfigError: If the directory is no pretrained run, or the data have other columns or examples of another
                shape, or are scaled by another rule.
            StorageError: If the encoder is damaged.
        """
        self.identify()
        encoder = load_encoder(self.folder / ENCODER)
        for name, theirs, ours in (
            ("columns", encoder.columns, data.columns),
            ("examples of shape", encoder.in_shape, tuple(data.raw_shape)),
        ):
            if theirs != ours:
                raise ConfigError(
                    f"warm_start: the {name} must be those of {self.run}, {_words(theirs)}, but {data.name} has "
                    f"{_words(ours)}. {_way_out(name)}"
                )
        if not encoder.transform.scales_like(data.transform):
            raise ConfigError(
                f"warm_start: the preprocessing must be that of {self.run} ({encoder.transform.words}), but that of "
                f"{data.name} is another ({data.transform.words}). Set data.transform, or what else of the data "
                f"scales them, as in {self.folder / 'config.yaml'}."
            )
        data.use_transform(encoder.transform)

    def begin(self, stack: GreedyStack) -> None:
        """Give the lowest layers of a stack the weights of the run, from which every training of the stack begins.

        Raises:
            ConfigError: If a layer does not fit; the message names it.
            StorageError: If a file of the run is damaged.
        """
        digest, stages = self.identify(), layer_stages(self.folder)
        if (self.folder / "stages" / UNROLLED).exists():
            raise ConfigError(
                f"warm_start: the layers of {self.run} were trained together by pretrain.unroll, and the run keeps "
                "each only as it was before. Name a run without."
            )
        most = min(len(stages), len(stack.layers))
        if (count := self.layers or most) > most:
            raise ConfigError(
                f"warm_start_layers must be at most {most}, but got {count}: {self.run} has {len(stages)} layers, the "
                f"new stack {len(stack.layers)}. Lower it, or leave it out to take {most}."
            )
        described = read_encoder_config(self.folder / ENCODER)
        for k, (layer, stage) in enumerate(zip(list(stack)[:count], stages, strict=False)):
            place = f"layer {k} ({stack.stages[k]})"
            if difference := _difference(layer, described, k):
                raise ConfigError(
                    f"warm_start: {place} must have the coder of {stage} in {self.run}, but {difference}. "
                    f"{self._way_out(k)}"
                )
            try:
                StageFiles(self.folder, stage).read(layer)
            except ValueError as error:
                raise ConfigError(
                    f"warm_start: {place} must have the weights of {stage} in {self.run}, but {error}. "
                    f"{self._way_out(k)}"
                ) from error
        stack.begin_with_present_weights(count, WarmStarted(str(user_path(self.run).absolute()), digest, count))

    def _way_out(self, k: int) -> str:
        """How a layer that differs may be as it is: the others alone begin from the run."""
        fewer = f", or take the layers below alone by warm_start_layers {k}" if k else ""
        return f"Set layers as in {self.folder / 'config.yaml'}{fewer}."

    @rank_zero_only
    def keep(self, out: Path) -> None:
        """Copy the encoder and the layers into a run directory, so that resuming does not need the other run.

        Raises:
            StorageError: If a file cannot be read or written.
        """
        if self.copy is not None:
            return
        source = self.folder
        stages = [Path("stages") / stage / WEIGHTS for stage in layer_stages(source)]
        names = ("encoder.safetensors", DECODERS, "config.json")  # the last completes the copy
        encoder = [Path(ENCODER) / name for name in names if (source / ENCODER / name).exists()]
        for name in (Path(STATE), *stages, *encoder):
            folder = inside(out, KEPT, *name.parts[:-1])
            make_folder(folder)
            try:
                with open_regular(source / name) as file:
                    content = file.read()
            except OSError as error:
                raise StorageError(f"{source / name} cannot be read: {error.strerror}. Name another run.") from error
            write_atomically(folder / name.name, content)
        print_line(f"begins with the layers of {source}, which are kept in {out / KEPT}")


def _difference(layer: Layer, config: Mapping[str, Any], k: int) -> str | None:
    """In what a layer differs from layer ``k`` of an encoder's config, in words; ``None`` if the coders are alike."""
    theirs = list(_modules(config["architecture"]["modules"][k]))
    if found := _first_difference("encoder", list(_modules(describe(layer.encoder))), theirs):
        return found
    if not isinstance(layer, CodingLayer) or not has_decoders(config):
        return None
    packed, weights = pack_decoders([(layer.g, layer.L)])
    if weights is None:
        return None
    ours, described = packed["layers"][0], config["decoder"]["layers"][k]
    one, other = (_text(_as_lists(each["likelihood"])) for each in (ours, described))
    if one != other:
        return f"its likelihood is {one} instead of {other}"
    return _first_difference("decoder", list(_modules(ours["architecture"])), list(_modules(described["architecture"])))


def _modules(described: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The modules that hold no others, in order."""
    if "modules" in described:
        for inner in described["modules"]:
            yield from _modules(inner)
    else:
        yield {name: _as_lists(value) for name, value in described.items()}


def _first_difference(part: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str | None:
    for number in range(max(len(ours), len(theirs))):
        one, other = (_text(each[number]) if number < len(each) else "none" for each in (ours, theirs))
        if one != other:
            return f"module {number} of its {part} is {one} instead of {other}"
    return None


def _text(described: Mapping[str, Any]) -> str:
    """A described module as its constructor is called."""
    return f"{described['type']}({', '.join(f'{name}={value}' for name, value in described.items() if name != 'type')})"


def _as_lists(value: Any) -> Any:
    """A value as JSON has it: tuples are lists."""
    if isinstance(value, Mapping):
        return {name: _as_lists(each) for name, each in value.items()}
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _words(value: Any) -> str:
    return "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _way_out(name: str) -> str:
    return (
        "Name them in that order by data.features or data.columns." if name == "columns" else "Take data of that shape."
    )
