"""Weights whose batch normalisation was folded into the convolutions, taken apart again.

    python benchmarks/papers/unfold.py WEIGHTS IMAGES OUTPUT [--arch mobilenet_v2] [--size 128]

Converters fold batch normalisation into the convolution before it (running means 0, variances 1).
Such a network predicts as before, but trained with the statistics of its batches it starts from
nothing. Here each layer gets the mean and variance that its input has over the JPEGs below the
folder IMAGES (at most 300, of the same kind as ImageNet's), and scale and shift such that the
network predicts as before; what is printed says so. WEIGHTS and OUTPUT are state dicts.
"""

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from skbackdoor.deep.architectures import build_network, native_normalisation
from skbackdoor.deep.images import ImageNetwork


def photographs(folder, size, n=300):
    """Pixels in [0, 1] of images that are evenly spaced among all of the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"{folder} holds no JPEG.")
    pixels = []
    for k in np.linspace(0, len(paths) - 1, min(n, len(paths))).astype(int):
        with Image.open(paths[k]) as image:
            pixels.append(np.asarray(image.convert("RGB").resize((size, size))))
    return torch.as_tensor(np.array(pixels)).permute(0, 3, 1, 2) / 255


def unfold(network, images, batch_size=50):
    """Give every layer of batch normalisation the statistics of its inputs; predict as before."""
    sums = {}

    def add(layer, inputs):
        x = inputs[0].double().transpose(0, 1).flatten(1)
        own = sums.setdefault(layer, [0, 0.0, 0.0])
        own[0] += x.shape[1]
        own[1] += x.sum(1)
        own[2] += x.square().sum(1)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(add) for layer in layers]
    network.eval()
    with torch.no_grad():
        for batch in images.split(batch_size):
            network(batch)
        for layer, (n, total, squares) in sums.items():
            mean = total / n
            variance = (squares / n - mean.square()).clamp(min=0)
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            shift = layer.bias - scale * layer.running_mean
            layer.weight.copy_(scale * (variance + layer.eps).sqrt())
            layer.bias.copy_(shift + scale * mean)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
    for hook in hooks:
        hook.remove()
    return network


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    network = build_network(args.arch, weights=args.weights)
    folded = ImageNetwork(network, normalisation=native_normalisation(args.arch))
    images = photographs(args.images, args.size)
    apart = unfold(deepcopy(folded), images)
    torch.save(apart.network.state_dict(), args.output)
    torch.manual_seed(0)  # of dropout
    with torch.no_grad():
        before, after = folded.eval()(images), apart.eval()(images)
        trained = {"folded": folded.train()(images), "taken apart": apart.train()(images)}
    top = before.argmax(1)
    print(f"{len(images)} images; largest change of a logit {(after - before).abs().max():.2g}")
    for name, logits in trained.items():
        share = (logits.argmax(1) == top).double().mean()
        print(f"{name}: with statistics of the batch {share:.0%} have the same class")


if __name__ == "__main__":
    main()
