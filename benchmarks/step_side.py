"""One side of bench_step: trains vanilla on made-up images with npmlp or with PyTorch.

Reads a number of steps per line on stdin and answers with a JSON line: seconds for them, and the
last loss. Both sides make the same numbers, so that the losses can be compared before any timing.
"""

from __future__ import annotations

import importlib
import json
import sys
import time


def main(side: str, threads: int, batch_size: int) -> None:
    began = time.perf_counter()
    torch = importlib.import_module(side)
    nn = importlib.import_module(f"{side}.nn")
    optim = importlib.import_module(f"{side}.optim")
    import_seconds = time.perf_counter() - began
    import numpy as np

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    loss_function = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((8 * batch_size, 1, 28, 28)).astype(np.float32)
    labels = rng.integers(0, 10, 8 * batch_size)
    batches = [
        (
            torch.from_numpy(images[i : i + batch_size].copy()),
            torch.from_numpy(labels[i : i + batch_size].copy()),
        )
        for i in range(0, len(images), batch_size)
    ]

    def steps(n: int) -> float:
        for i in range(n):
            x, y = batches[i % len(batches)]
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
        return float(loss.item())

    def answer(**facts: object) -> None:
        print(json.dumps(facts), flush=True)

    answer(import_seconds=import_seconds)
    for line in sys.stdin:
        n = int(line)
        began = time.perf_counter()
        loss = steps(n)
        seconds = time.perf_counter() - began
        answer(seconds=seconds, loss=loss)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
