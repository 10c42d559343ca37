"""Data that stay in files need nothing that Windows lacks."""

import os
import subprocess
import sys

import numpy as np
import torch
import yaml

from aepretrain.data.file_rows import RowFile
from tests.support.runs import ROOT, config, differences

WINDOWS = ROOT / "tests" / "support" / "windows.py"


def run(folder, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::ResourceWarning", WINDOWS, folder, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_run_from_a_file_with_codes_on_disk_needs_nothing_that_windows_lacks(runner, tmp_path):
    x = np.random.default_rng(0).random((600, 40), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", (x[:, 0] > 0.5).astype(np.int64))
    data = {"x": str(tmp_path / "x.npy"), "y": str(tmp_path / "y.npy"), "memory_budget": "80kB"}
    file = config("DenoisingAutoencoder", tmp_path, data={"class_path": "MappedArray", "init_args": data})
    values = yaml.safe_load(file.read_text())
    values["layers"] = [values["layers"][0]] * 3
    values["layers"][0]["init_args"]["coder"]["init_args"]["features"] = 30
    values["pretrain"] = {"epochs": 2, "batch_size": 64}
    file.write_text(yaml.safe_dump(values))
    shown = run(tmp_path / "run", "fit", "--config", file, "--out", tmp_path / "run")
    assert "codes go to" in shown
    code, said = runner.run("fit", "--config", file, "--out", tmp_path / "here")
    assert code == 0, said
    assert differences(tmp_path / "here", tmp_path / "run") == []


def test_without_preadv_several_threads_read_what_they_ask_for(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.delattr(os, "preadv")
    values = np.arange(3000 * 50, dtype=np.float32).reshape(3000, 50)
    values.tofile(tmp_path / "rows")
    file = RowFile(tmp_path / "rows", (50,), torch.float32)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randperm(3000, generator=generator)[:700] for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for part, found in zip(parts, pool.map(file.read, parts), strict=True):
            assert np.array_equal(found.numpy(), values[part.numpy()])
