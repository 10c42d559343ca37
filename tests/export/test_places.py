"""Encoders in repositories and artifacts: the two functions of a client work on folders here, all else is ours."""

import inspect
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
import yaml
from torch import nn

import aepretrain as ae
from aepretrain.export.places import FILES
from aepretrain.sklearn import GreedyEncoder
from aepretrain.tracking.wandb_run import artifact_name

LAYERS, DECODERS = nn.Sequential(nn.Linear(4, 2)), [(nn.Linear(2, 4), ae.Gaussian())]
X = torch.linspace(0, 1, 12).reshape(3, 4)


def save(path):
    return ae.save_encoder(LAYERS, path, in_shape=(4,), decoders=DECODERS, provenance={"variants": ["plain", "plain"]})


class Hub:
    """Repositories as folders. What is called with is held against the signatures of huggingface_hub."""

    def __init__(self, root, client):
        self.root = root
        self.signatures = {
            name: inspect.signature(getattr(client, name)) for name in ("upload_folder", "snapshot_download")
        }
        (root / "owner" / "name").mkdir(parents=True)

    def folder(self, repo, revision):
        if not (self.root / repo).is_dir() or revision not in (None, "v1"):
            raise OSError(f"404 Client Error.\n\nRepository Not Found: {repo} at {revision}")
        return self.root / repo

    def upload_folder(self, **arguments):
        self.signatures["upload_folder"].bind(**arguments)
        for path in Path(arguments["folder_path"]).iterdir():
            assert path.name in arguments["allow_patterns"]
            shutil.copy(path, self.folder(arguments["repo_id"], arguments["revision"]))

    def snapshot_download(self, repo, **arguments):
        self.signatures["snapshot_download"].bind(repo, **arguments)
        assert arguments["allow_patterns"] == list(FILES)
        return str(self.folder(repo, arguments["revision"]))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    client = pytest.importorskip("huggingface_hub")
    hub = Hub(tmp_path / "hub", client)
    monkeypatch.setattr(client, "upload_folder", hub.upload_folder)
    monkeypatch.setattr(client, "snapshot_download", hub.snapshot_download)
    return hub


def test_an_encoder_goes_to_a_repository_and_comes_back_the_same(hub):
    assert str(save("hf:owner/name")) == "hf:owner/name"
    assert {path.name for path in (hub.root / "owner" / "name").iterdir()} == set(FILES)
    for place in ("hf:owner/name", "hf:owner/name@v1"):
        assert torch.equal(ae.load_encoder(place)(X), LAYERS(X))
        assert torch.equal(ae.load_autoencoder(place).reconstruct(X), DECODERS[0][0](LAYERS(X)))


def test_the_estimator_takes_a_repository_too(hub):
    save("hf:owner/name")
    codes = GreedyEncoder.from_run("hf:owner/name").transform(X.numpy())
    assert np.array_equal(codes, LAYERS(X).detach().numpy())


def test_a_repository_is_read_as_strictly_as_a_folder(hub):
    save("hf:owner/name")
    weights = hub.root / "owner" / "name" / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ae.StorageError, match="damaged or was changed"):
        ae.load_encoder("hf:owner/name")


def test_the_model_card_has_a_header_in_yaml_and_the_name_of_its_place(hub):
    save("hf:owner/name")
    card = (hub.root / "owner" / "name" / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    found = yaml.safe_load(header)
    assert (found["library_name"], found["pipeline_tag"]) == ("aepretrain", "feature-extraction")
    assert found["tags"][-1:] == ["plain"]
    assert 'load_encoder("hf:owner/name")' in body
    assert 'load_autoencoder("hf:owner/name")' in body


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("hf:nobody/name", ae.StorageError, "hf:nobody/name cannot be downloaded: OSError: 404 Client Error."),
        ("hf:owner/name@v2", ae.StorageError, "Check the name and the network; private ones need: hf auth login."),
        ("hf:name", ae.ConfigError, "hf:name is no place. Name a folder, hf:owner/name or wandb:entity/project/name"),
        ("hf:../../name", ae.ConfigError, "is no place"),
        ("wandb:project/name:v0", ae.ConfigError, "wandb:project/name:v0 is no place"),
    ],
)
def test_places_that_do_not_exist_are_refused_in_one_line(hub, place, error, message):
    for load in (ae.load_encoder, ae.load_autoencoder):
        with pytest.raises(error) as refused:
            load(place)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)


def test_an_upload_that_fails_is_reported_with_the_way_out(hub):
    with pytest.raises(ae.StorageError, match=r"hf:nobody/name cannot be uploaded: .* Make the repository first"):
        save("hf:nobody/name")
    with pytest.raises(ae.ConfigError, match="wandb:a/b/c:v0 cannot be uploaded to"):
        save("wandb:a/b/c:v0")


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ae.ConfigError, match=r'pip install "aepretrain\[hub\]"'):
        ae.load_encoder("hf:owner/name")


class Artifacts:
    """A stand-in for ``wandb.Api``, whose artifacts lie in a folder."""

    root: Path

    def artifact(self, name, type):
        assert type == "model"
        self.folder = self.root / name.replace(":", "/")
        if not self.folder.is_dir():
            raise wandb.errors.CommError(f"artifact {name} not found")
        return self

    def download(self, root):
        shutil.copytree(self.folder, root, dirs_exist_ok=True)
        return root


def test_an_artifact_of_wandb_is_loaded_as_the_folder_that_was_logged(tmp_path, monkeypatch):
    monkeypatch.setattr(Artifacts, "root", tmp_path, raising=False)
    monkeypatch.setattr(wandb, "Api", Artifacts)
    name = artifact_name(None, "digits")  # as the run of fit names it
    save(tmp_path / "team" / "project" / name / "latest")
    place = f"wandb:team/project/{name}:latest"
    assert torch.equal(ae.load_encoder(place)(X), LAYERS(X))
    assert torch.equal(ae.load_autoencoder(place).encode(X), LAYERS(X))
    with pytest.raises(ae.StorageError, match=r"wandb:team/project/other:v1 cannot be downloaded: CommError"):
        ae.load_encoder("wandb:team/project/other:v1")
