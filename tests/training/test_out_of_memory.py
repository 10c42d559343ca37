"""Running out of memory: recognized whatever the library calls it, and answered with the best advice there is."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from aepretrain import DenoisingAutoencoder, Dense, Digits, Experiment, FineTuning, Pretraining
from aepretrain.errors import OutOfMemoryError
from aepretrain.training.out_of_memory import enough_parts, free_memory, is_out_of_memory


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


def test_parts_are_doubled_until_they_fit():
    assert enough_parts(128, 4, each=1, fixed=0, free=None) == 8
    assert enough_parts(100, 64, each=1, fixed=0, free=1) == 100
    assert enough_parts(128, 128, each=1, fixed=0, free=10**9) is None
    assert enough_parts(128, 1, each=1, fixed=20, free=10) is None


def test_memory_that_is_free_is_known():
    assert free_memory(torch.device("cpu")) > 0


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("on_train_batch_start", "by an estimate (0 MB of "),
        ("on_validation_start", "The same steps in 2 parts should fit"),
        ("setup", "Not a step but the data need too much"),
    ],
)
def test_from_python_the_error_has_the_setting(hook, words, tmp_path):
    class Hungry(Callback):
        pass

    def ask(*args, **kwargs):
        torch.empty(2**60)

    setattr(Hungry, hook, ask)
    (tmp_path / "stages").mkdir()
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(8))  # noqa: E731
    experiment = Experiment([layer], Digits(), Pretraining(1, 64), finetune=FineTuning(0), callbacks=[Hungry()])
    with pytest.raises(OutOfMemoryError, match="00-denoising ran out of memory with batches of 64 examples") as error:
        experiment.run(tmp_path)
    assert words in str(error.value)
    assert error.value.setting == (None if hook == "setup" else "--trainer.accumulate 2")
