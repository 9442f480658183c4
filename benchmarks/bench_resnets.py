"""Table 1 of *Curves* (Cinà et al., 2024) for ResNets on Imagenette, and what training costs.

    python benchmarks/bench_resnets.py --csv FILE [--data FOLDER] [--weights DEFAULT]
        [--archs resnet18 resnet50] [--rates 0.05 0.15] [--epochs 10 50] [--h 0.01 0.1 0.2 1]
        [--image-size 224] [--images N] [--parts table throughput] [--device auto]
        > benchmarks/results/resnets.md

Each row: slopes by forward differences for every h (eq. 7; same seed and batches on both sides),
attack success, base rate and clean accuracy; SGD with learning rate 0.001, momentum 0.9 and
batches of 256, the pattern c_m / 255 that the paper's Table 1 has (`--c-m`; no patch), target the
next class, placement "replace". Rows are appended to the CSV file as they come: a second start
goes on where the first one stopped. Then images per second of `fit` against a bare PyTorch loop
with the same network, batches, precision and data on the device already, in turn; the limit is
0.85. Without weights networks start from random ones. In bfloat16 on CUDA, else in float32.
Progress goes to stderr.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from bench_deep import imagenette, log

from skbackdoor import BackdoorPoisoner, StripeTrigger, backdoor_learning_slope, evaluate_attack
from skbackdoor.deep import ImageClassifier, image_classifier
from skbackdoor.deep.device import choose_device

SGD = {"lr": 0.001, "momentum": 0.9}
KEYS = ("arch", "p", "epochs", "weights", "image_size", "n_train", "c_m")


def classifier(arch, args, device, **parameters):
    return image_classifier(
        arch, 10, weights=args.weights, image_size=args.image_size, optimizer=torch.optim.SGD,
        lr=SGD["lr"], optimizer__momentum=SGD["momentum"], batch_size=args.batch_size,
        mixed_precision=device.type == "cuda", device=str(device), random_state=0, **parameters,
    )  # fmt: skip


def table(train, test, args, device):
    """The rows of the table, those of earlier starts first."""
    names = (*KEYS, *(f"theta_h{h:g}" for h in args.h), "success", "base", "accuracy", "seconds")
    path, rows = Path(args.csv), []
    if path.exists():
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        if rows and tuple(rows[0]) != names:
            raise SystemExit(f"{path} has other columns than {names}: name another file.")
    done = {tuple(row[key] for key in KEYS) for row in rows}
    for epochs in args.epochs:
        for p in args.rates:
            for arch in args.archs:
                cell = (arch, p, epochs, args.weights, args.image_size, len(train[0]), args.c_m)
                if tuple(map(str, cell)) in done:
                    log(f"{cell}: in {path}")
                    continue
                begin = time.perf_counter()
                poisoner = BackdoorPoisoner(
                    classifier(arch, args, device, max_epochs=epochs),
                    StripeTrigger(args.c_m, value_range=(0, 255)), target="next",
                    poisoning_rate=p, placement="replace", random_state=0,
                )  # fmt: skip
                slopes = backdoor_learning_slope(poisoner, *train, *test, h=args.h, scale="total")
                attack = evaluate_attack(poisoner, *train, *test)
                values = [f"{slope.theta:.4f}" for slope in slopes]
                values += [f"{attack.attack_success_rate:.4f}", f"{attack.base_rate:.4f}"]
                values += [f"{attack.poisoned_accuracy:.4f}"]
                values += [f"{time.perf_counter() - begin:.1f}"]
                rows.append(dict(zip(names, (*map(str, cell), *values), strict=True)))
                with open(path, "a", newline="") as file:
                    writer = csv.DictWriter(file, names)
                    if len(rows) == 1:
                        writer.writeheader()
                    writer.writerow(rows[-1])
                log(rows[-1])
    return rows


def throughput(arch, train, args, device):
    """Images per second of `fit` and of a bare loop, one pair a repeat."""
    X, y = train
    net = classifier(arch, args, device, max_epochs=1, warm_start=True).fit(X, y)

    def ours():
        net.partial_fit(X, y)
        return net.history_[-1, "dur"]  # without the copy to the device, which is one a fit

    pixels, labels = torch.as_tensor(X).to(device), torch.as_tensor(y).to(device)
    bare = ImageClassifier(arch, 10, args.weights, "all", args.image_size).to(device).train()
    optimizer = torch.optim.SGD(bare.parameters(), **SGD)

    def loop():
        begin = time.perf_counter()
        for rows in torch.randperm(len(pixels), device=device).split(args.batch_size):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = bare(pixels[rows].float() / 255)
            torch.nn.functional.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    loop()
    return np.array([(len(X) / ours(), len(X) / loop()) for _ in range(args.repeats)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", required=True, help="single rows, appended as they come")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/imagenette"))
    parser.add_argument("--weights", default=None, help="DEFAULT, or a state dict")
    parser.add_argument("--archs", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.15])
    parser.add_argument("--epochs", nargs="+", type=int, default=[10, 50])
    parser.add_argument("--h", nargs="+", type=float, default=[0.01, 0.1, 0.2, 1.0])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--c-m", type=float, default=10.0)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--images", type=int, help="training images a class; default all")
    parser.add_argument("--parts", nargs="+", choices=("table", "throughput"),
                        default=("table", "throughput"))  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = choose_device(args.device)
    train, _, test = imagenette(args.data, (args.images, 0, None))
    log(f"{len(train[0])} training and {len(test[0])} test images on {device}")
    if "table" in args.parts:
        rows = table(train, test, args, device)
        print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
        for row in rows:
            print("| " + " | ".join(row.values()) + " |")
        print()
    if "throughput" in args.parts:
        print("| arch | images/s, fit | images/s, bare loop | ratio min - med - max | limit |")
        print("| --- | --- | --- | --- | --- |")
        for arch in args.archs:
            speeds = throughput(arch, train, args, device)
            low, middle, high = np.percentile(speeds[:, 0] / speeds[:, 1], (0, 50, 100))
            ours, bare = np.median(speeds, axis=0)
            ratio = f"{low:.2f} - {middle:.2f} - {high:.2f}"
            print(f"| {arch} | {ours:.0f} | {bare:.0f} | {ratio} | >= 0.85 |", flush=True)
        print()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
