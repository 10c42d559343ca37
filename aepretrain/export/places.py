"""Places of encoders other than folders: repositories of Hugging Face and artifacts of Weights & Biases."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aepretrain.errors import ConfigError, StorageError, one_line

FILES = ("config.json", "encoder.safetensors", "decoder.safetensors", "README.md")
"""The files of an encoder: no others are downloaded."""
HUGGING_FACE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?")
WANDB = re.compile(r"wandb:(?P<artifact>[\w.-]+/[\w.-]+/[\w.-]+:[\w.-]+)")


def is_remote(path: str | Path) -> bool:
    """Whether a path names a repository or an artifact, not a folder.

    Example:
        >>> is_remote("hf:owner/name"), is_remote("runs/digits/encoder")
        (True, False)
    """
    return str(path).startswith(("hf:", "wandb:"))


@contextlib.contextmanager
def local_folder(path: str | Path) -> Iterator[Path]:
    """The folder of an encoder, downloaded if it is remote.

    Args:
        path: A folder; ``hf:owner/name`` or ``hf:owner/name@revision``, a repository of Hugging Face; or
            ``wandb:entity/project/name:alias``, an artifact of Weights & Biases.

    Raises:
        ConfigError: If the name has another form, or a package is missing.
        StorageError: If it cannot be downloaded.
    """
    name = str(path)
    if not is_remote(path):
        yield Path(path)
    elif found := HUGGING_FACE.fullmatch(name):
        yield _download(name, **found.groupdict())
    elif found := WANDB.fullmatch(name):
        with tempfile.TemporaryDirectory() as folder:
            yield _download_artifact(name, found["artifact"], folder)
    else:
        raise ConfigError(f"{name} is no place. Name a folder, hf:owner/name or wandb:entity/project/name:alias.")


def upload(folder: Path, path: str | Path) -> None:
    """Upload the folder of an encoder to a repository of Hugging Face, which must exist.

    Args:
        folder: The folder.
        path: ``hf:owner/name`` or ``hf:owner/name@branch``.

    Raises:
        ConfigError: If the name has another form, or huggingface_hub is missing.
        StorageError: If it cannot be uploaded.
    """
    name = str(path)
    if not (found := HUGGING_FACE.fullmatch(name)):
        raise ConfigError(f"{name} cannot be uploaded to. Name hf:owner/name; W&B has the encoder of every run.")
    hub = _hub()
    with _reported(name, "uploaded", "Make the repository first, and log in by: hf auth login"):
        hub.upload_folder(
            repo_id=found["repo"],
            revision=found["revision"],
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="Encoder exported by aepretrain",
        )


def _download(name: str, repo: str, revision: str | None) -> Path:
    hub = _hub()
    with _reported(name, "downloaded", "Check the name and the network; private ones need: hf auth login"):
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            'hf: needs the package huggingface_hub. Install it by: pip install "aepretrain[hub]"'
        ) from error
    return huggingface_hub


def _download_artifact(name: str, artifact: str, folder: str) -> Path:
    import wandb

    with _reported(name, "downloaded", "Check the name and the network; log in by: wandb login"):
        return Path(wandb.Api().artifact(artifact, type="model").download(root=folder))


@contextlib.contextmanager
def _reported(name: str, done: str, way_out: str) -> Iterator[None]:
    """Report whatever a client raises, of which there are many kinds, in one line."""
    try:
        yield
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise StorageError(f"{name} cannot be {done}: {reason} {way_out}.") from error
