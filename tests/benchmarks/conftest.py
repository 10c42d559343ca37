"""Benchmarks, measured side by side: ``pytest tests/benchmarks/bench_*.py -n 0`` writes RESULTS.md when it ends."""

import importlib.metadata
import os
import platform
import statistics
import time
from pathlib import Path

import pytest
import torch

RESULTS = Path(__file__).parent / "RESULTS.md"
ROUNDS = 5
NOT_SEEN = (
    "\n\nNot seen, for want of a GPU, is `bench_gpu.py`: greedy pretraining 784-1000-1000-1000 in bf16-mixed against "
    "stock Lightning with a DataLoader.\n"
)
rows = []


@pytest.fixture(autouse=True, scope="session")
def threads():
    count = int(os.environ.get("OMP_NUM_THREADS", 2))
    torch.set_num_threads(count)
    if hasattr(os, "sched_setaffinity"):  # other packages have settings of their own, or none
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:count]))


def seconds(function):
    """Call a function; what it took, or what it returns where it measures by itself."""
    start = time.perf_counter()
    measured = function()
    return measured if isinstance(measured, float) else time.perf_counter() - start


@pytest.fixture
def side_by_side(benchmark, request):
    """Measure two functions in turn, and note the ratio of their times: the median over at least 5 rounds."""

    def measure(what, ours, theirs, *, most=None, least=None, rounds=ROUNDS, note=""):
        pairs = []

        def pair():
            # Who goes first changes from round to round.
            both = (ours, theirs) if len(pairs) % 2 else (theirs, ours)
            taken = {function: seconds(function) for function in both}
            pairs.append((taken[ours], taken[theirs]))

        benchmark.pedantic(pair, rounds=rounds, warmup_rounds=1)
        del pairs[0]
        ratios = sorted(a / b if least is None else b / a for a, b in pairs)
        ratio = statistics.median(ratios)
        bound = f"at most {most}" if most is not None else f"at least {least}" if least is not None else ""
        holds = ratio <= most if most is not None else least is None or ratio >= least
        times = " / ".join(f"{1000 * statistics.median(column):.4g} ms" for column in zip(*pairs, strict=True))
        rows.append(
            f"| {what} | {times} | {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {bound} | "
            f"{('yes' if holds else 'no') if bound else ''} | {note() if callable(note) else note} |"
        )
        benchmark.extra_info["ratio"] = ratio
        print(rows[-1])
        return ratio

    return measure


def pytest_sessionfinish(session):
    if not rows:
        return
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning", "aepretrain"))
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    RESULTS.write_text(
        "# Benchmarks\n\n"
        f"`OMP_NUM_THREADS={torch.get_num_threads()} pytest tests/benchmarks/bench_*.py -n 0` on {os.cpu_count()} "
        f"cores of {processor}, {torch.get_num_threads()} used; "
        f"Python {platform.python_version()}, {versions}. {gpu or 'No GPU'}.\n\n"
        "Each ratio is the median of so many pairs as rounds, taken in turn in one process, with the smallest and the "
        "largest in brackets. Times are medians.\n\n"
        "| what | ours / theirs | ratio | wanted | reached | note |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + ("\n" if gpu else NOT_SEEN)
    )
