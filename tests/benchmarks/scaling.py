"""Two processes against one: ``OMP_NUM_THREADS=1 python tests/benchmarks/scaling.py`` (MNIST by AEPRETRAIN_DATA).

One denoising layer 784-1000 on one process and on two, whose gradients meet at every step (DDP, gloo), and the meeting
alone, for several global batches. It is no test and is not collected.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("speed-784-1000.yaml")
BATCHES = (20, 128, 512, 2048)
EXAMPLES = 50_000
GRADIENTS = 2 * 784 * 1000 + 1000 + 784
"""Values of the layer's gradient."""
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29590"]


def step_seconds(batch_size, processes):
    """Seconds of an optimizer step: the quicker of two epochs."""
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"] if processes == 2 else []
    with tempfile.TemporaryDirectory() as folder:
        words = ["fit", "--config", CONFIG, "--out", f"{folder}/run", f"--pretrain.batch_size={batch_size}", *two]
        answer = subprocess.run(
            [sys.executable, "-m", "aepretrain", *map(str, words)], cwd=ROOT, capture_output=True, text=True
        )
        if answer.returncode:
            raise SystemExit(answer.stderr)
        rows = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    seconds = min(row["value"] for row in rows if row["name"] == "epoch_seconds")
    return seconds / -(-EXAMPLES // batch_size)


def reduce_seconds():
    """Median seconds of adding up the gradients of two processes."""
    found = subprocess.run([sys.executable, *TORCHRUN, __file__, "reduce"], capture_output=True, text=True, check=True)
    return float(found.stdout.split()[-1])


def reduce():
    dist.init_process_group("gloo")
    gradients, taken = torch.rand(GRADIENTS), []
    for _ in range(200):
        start = time.perf_counter()
        dist.all_reduce(gradients)
        taken.append(time.perf_counter() - start)
    if dist.get_rank() == 0:
        print(statistics.median(taken))
    dist.destroy_process_group()


def main():
    reduced = reduce_seconds()
    print(
        f"784-1000, {4 * GRADIENTS / 1e6:.1f} MB of gradients: {1000 * reduced:.2f} ms to add up by gloo, two processes"
    )
    print("| global batch | one process | two | speed-up | predicted: half of it and the sum |\n|---|---|---|---|---|")
    for batch_size in BATCHES:
        pairs = [(step_seconds(batch_size, 1), step_seconds(batch_size, 2)) for _ in range(3)]
        one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        predicted = one / (one / 2 + reduced)
        print(
            f"| {batch_size} | {1000 * one:.2f} ms | {1000 * two:.2f} ms | {ratio:.2f} | {predicted:.2f} |", flush=True
        )


if __name__ == "__main__":
    reduce() if "reduce" in sys.argv else main()
