"""What triggering costs, against one copy of the data.

    python benchmarks/bench_triggers.py [--repeats 7] > benchmarks/results/triggers.md

60,000 x 784 random numbers in float32 and in uint8. Copy and trigger in turn, after one of each;
ratios are minimum - median - maximum. A trigger returns a new array, checks that the old one holds
finite numbers, and clips what it touches, on up to four threads. "low variance" is its transform;
its fit is in the last table, in a process of its own, with its memory.
"""

import argparse
import resource
import subprocess
import sys
import time
from functools import partial

import numpy as np

from skbackdoor import (
    BlendTrigger,
    FeatureTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    WarpTrigger,
)

SHAPE, N = (28, 28), 60_000
#: Name, images, their shape.
PCAS = (("32x32x3", 50_000, (3, 32, 32)), ("224x224x3", 4_000, (3, 224, 224)))


def triggers(high, image):
    layout = {"image_shape": SHAPE, "value_range": (0, high)}
    return {
        "patch 3x3": (PatchTrigger(3, value=high, **layout), 2),
        "patch 3x3, alpha 0.5": (PatchTrigger(3, value=high, alpha=0.5, **layout), 2),
        "patch at random places": (PatchTrigger(3, value=high, position="random", **layout), 2),
        "blend": (BlendTrigger(image, **layout), 2),
        "stripe": (StripeTrigger(0.3 * high, **layout), None),
        "sinusoid": (SinusoidTrigger(0.4 * high, 7, **layout), None),
        "low variance": (LowVarianceTrigger(random_state=0, **layout), None),
        "warp": (WarpTrigger(random_state=0, **layout), None),
        "3 columns set": (FeatureTrigger({0: high, 5: high, 99: 0}), None),
    }


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def speed(repeats):
    rng = np.random.default_rng(0)
    print(f"### {N} x 784, {repeats} repeats\n")
    print("| trigger | dtype | copy s | trigger s | ratio min - med - max | limit |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dtype, high in ((np.float32, 1), (np.uint8, 255)):
        X = (rng.random((N, 784), dtype=np.float32) * high).astype(dtype)
        for name, (trigger, limit) in triggers(high, X[0]).items():
            trigger.fit(X[:500])
            transform = partial(trigger.transform, X)
            X.copy(), transform()
            times = [(seconds(X.copy), seconds(transform)) for _ in range(repeats)]
            copies, taken = np.array(times).T
            low, middle, most = np.percentile(taken / copies, [0, 50, 100])
            shown = f"<= {limit}" if limit and dtype == np.float32 else ""
            print(
                f"| {name} | {np.dtype(dtype)} | {np.median(copies):.3f} |"
                f" {np.median(taken):.3f} | {low:.2f} - {middle:.2f} - {most:.2f} | {shown} |",
                flush=True,
            )


def fit_pca(n, shape):
    """Fit on uint8 images that were never all in memory as floats; prints seconds and MiB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(n, shape[0], 8, 8), dtype=np.uint8)
    X = coarse.repeat(shape[1] // 8, axis=2).repeat(shape[2] // 8, axis=3)
    for block in range(0, n, 500):
        X[block : block + 500] //= 2
        X[block : block + 500] += rng.integers(0, 120, X[block : block + 500].shape, np.uint8)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trigger = LowVarianceTrigger(value_range=(0, 255), random_state=0)
    taken = seconds(lambda: trigger.fit(X))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory = " | ".join(f"{size:.0f}" for size in (X.nbytes / 2**20, most - base, most))
    print(f"{taken:.1f} | {memory} | {trigger.n_components_}")


def pcas():
    print("\n### Fit of LowVarianceTrigger\n")
    print("| images | n | s | X, MiB | beyond X, MiB | peak of the process, MiB | components |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, n, _ in PCAS:
        command = [sys.executable, __file__, "--pca", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(f"| {name} | {n} | {done.stdout.strip()} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pca", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pca:
        return next(fit_pca(n, shape) for name, n, shape in PCAS if name == args.pca)
    speed(args.repeats)
    pcas()


if __name__ == "__main__":
    main()
