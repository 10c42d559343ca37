"""What other packages take for the same layer."""

import itertools
import statistics
import time
import warnings

from torch.optim import SGD

from tests.benchmarks.by_hand import RATES


def regressor(x, features, batch_size, epochs, optimizer=SGD):
    """Seconds per epoch of scikit-learn's network of one hidden layer, which reconstructs without noise."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    solver = {"solver": "sgd", "momentum": 0, "nesterovs_momentum": False} if optimizer is SGD else {"solver": "adam"}
    model = MLPRegressor(
        hidden_layer_sizes=(features,), activation="logistic", learning_rate_init=RATES[optimizer],
        batch_size=batch_size, max_iter=epochs, n_iter_no_change=10**6, alpha=0, **solver,
    )  # fmt: skip
    rows = x.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(rows, rows)
    return (time.perf_counter() - start) / epochs


def stock_lightning(x, features, batch_size, epochs):
    """Seconds per epoch of a stock Trainer with a DataLoader."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import LambdaCallback
    from torch.utils.data import DataLoader, TensorDataset

    from aepretrain.training.devices import quiet_lightning
    from tests.benchmarks.ours import layer

    stamps = []
    clock = LambdaCallback(on_train_epoch_end=lambda *_: stamps.append(time.perf_counter()))
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[clock], **dict.fromkeys(off, False))
    with quiet_lightning(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stock Trainer warns of what it misses: validation data, workers
        trainer.fit(layer(x.shape[1], features, SGD), DataLoader(TensorDataset(x), batch_size, shuffle=True))
    return statistics.median(b - a for a, b in itertools.pairwise(stamps))
