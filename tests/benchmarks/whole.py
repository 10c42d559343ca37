"""One training from the start of Python to its end: ``python whole.py WHO EPOCHS``, timed from outside."""

import sys

from tests.benchmarks.by_hand import data, denoising_by_hand, denoising_written_out


def main(who: str, epochs: int) -> None:
    """Train a layer 64-32 by SGD with batches of 20 on 20,000 rows."""
    what = (data(64, 20_000), 32, 20, epochs)
    if who == "ours":
        from tests.benchmarks.ours import denoising

        denoising(*what)
    elif who == "jax":
        from tests.benchmarks.jax_loop import denoising_scanned

        denoising_scanned(what[0].numpy(), 32, 20, epochs, "sgd", 0.01)
    elif who == "scikit-learn":
        from tests.benchmarks.peers import regressor

        regressor(*what)
    elif who == "lightning":
        from tests.benchmarks.peers import stock_lightning

        stock_lightning(*what)
    else:
        {"by hand": denoising_by_hand, "gradients by hand": denoising_written_out}[who](*what)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
