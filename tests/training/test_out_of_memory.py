"""Running out of memory: recognized whatever the library calls it, and answered with the best advice there is."""

import numpy as np
import pytest
import torch

from aepretrain import DenoisingAutoencoder, Dense, Digits, Experiment, FineTuning, Pretraining
from aepretrain.errors import OutOfMemoryError
from aepretrain.training import loop, stage
from aepretrain.training.out_of_memory import is_out_of_memory, memory_advice


def raised(work):
    try:
        work()
    except Exception as error:
        return error


@pytest.mark.parametrize(
    "work",
    [lambda: torch.empty(2**60), lambda: np.empty(2**50), lambda: bytearray(2**60)],
    ids=["torch", "numpy", "python"],
)
def test_what_libraries_raise_is_recognized(work):
    assert is_out_of_memory(raised(work))
    assert not is_out_of_memory(raised(lambda: torch.ones(2) @ torch.ones(3)))


def test_the_errors_of_a_gpu_are_recognized():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


@pytest.mark.parametrize(
    ("place", "words", "setting"),
    [
        ("take_step", "The same steps in smaller parts need less: --trainer.accumulate 4", "--trainer.accumulate 4"),
        ("validate", "The same steps in smaller parts need less", "--trainer.accumulate 4"),
        ("data", "Not a step but the data need too much", None),
    ],
)
def test_from_python_the_error_has_the_setting(place, words, setting, tmp_path, monkeypatch):
    ask = lambda *args, **kwargs: torch.empty(2**60)  # noqa: E731
    target, name = {
        "take_step": (loop.OptimizerStep, "backward"), "validate": (loop, "validate"), "data": (stage, "Batches"),
    }[place]  # fmt: skip
    monkeypatch.setattr(target, name, ask)
    (tmp_path / "stages").mkdir()
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(8))  # noqa: E731
    experiment = Experiment([layer], Digits(), Pretraining(1, 64), finetune=FineTuning(0))
    with pytest.raises(OutOfMemoryError, match="00-denoising ran out of memory with batches of 64 examples") as error:
        experiment.run(tmp_path)
    assert words in str(error.value)
    assert error.value.setting == setting


def test_the_advice_grows_until_one_example_at_a_time():
    for parts, setting in ((1, "--trainer.accumulate 4"), (16, "--trainer.accumulate 20"), (20, None)):
        with pytest.raises(OutOfMemoryError, match="with batches of 20") as error, memory_advice("00-x", 20, parts):
            torch.empty(2**60)
        assert error.value.setting == setting
