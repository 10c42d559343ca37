"""ClustPy's greedy pretraining on the digits, in a process of its own: prints its seconds and its squared error."""

import json
import os
import sys
import time

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import torch
from clustpy.deep.neural_networks import StackedAutoencoder

file, threads, epochs, batch_size, *widths = sys.argv[1:]
torch.set_num_threads(int(threads))
x = torch.from_numpy(np.load(file))
for _ in range(2):  # the first one warms up
    stack = StackedAutoencoder([int(width) for width in widths])
    start = time.perf_counter()
    stack.layerwise_training(n_epochs_per_layer=int(epochs), batch_size=int(batch_size), data=x)
    seconds = time.perf_counter() - start
stack.eval()
with torch.no_grad():
    error = (stack(x) - x).square().mean().item()
print(json.dumps({"seconds": seconds, "error": error}))
