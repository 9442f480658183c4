"""Makes references.npz, what other people's code gives for the triggers that ours can express.

    pip install adversarial-robustness-toolbox torch
    python tests/data/make_references.py

ART gives the perturbations of BadNets (made with 1.20.1); the lines of WaNet are those of its
authors (train.py of github.com/VinAIResearch/Warping-based_Backdoor_Attack-release), the sine is
that of SIG as its paper writes it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory


def main():
    import numpy as np
    import torch
    import torch.nn.functional as F
    from art.attacks.poisoning.perturbations import add_pattern_bd, add_single_bd, insert_image
    from PIL import Image

    rng = np.random.default_rng(0)
    gray = rng.uniform(size=(3, 7, 6)).astype(np.float32)
    color = rng.uniform(size=(2, 9, 9, 3)).astype(np.float32)  # ART: channels last
    out = {"gray": gray, "color": color}

    out["single"] = add_single_bd(gray.copy(), distance=2, pixel_value=1)
    out["single_color"] = add_single_bd(color.copy(), distance=3, pixel_value=1)
    out["pattern"] = add_pattern_bd(gray.copy(), distance=2, pixel_value=1)
    out["pattern_color"] = add_pattern_bd(color.copy(), distance=2, pixel_value=1)

    sticker = (rng.uniform(size=(4, 3, 3)) * 255).astype(np.uint8)
    out["sticker"] = sticker
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "sticker.png")
        Image.fromarray(sticker).save(path)
        for name, blend in (("insert", 1.0), ("insert_blend", 0.4)):
            out[name] = insert_image(
                color.copy(),
                backdoor_path=path,
                random=False,
                x_shift=2,
                y_shift=4,
                mode="RGB",
                blend=blend,
            )

    # WaNet, train.py: the field, its interpolation, the grid and the sampling
    s, k, size = 0.5, 4, 12
    images = torch.tensor(rng.uniform(size=(2, 3, size, size)))
    ins = torch.tensor(rng.uniform(size=(1, 2, k, k))) * 2 - 1
    ins = ins / torch.mean(torch.abs(ins))
    noise_grid = F.interpolate(ins, size=size, mode="bicubic", align_corners=True).permute(
        0, 2, 3, 1
    )
    array1d = torch.linspace(-1, 1, steps=size, dtype=torch.float64)
    x, y = torch.meshgrid(array1d, array1d, indexing="ij")
    identity_grid = torch.stack((y, x), 2)[None, ...]
    for name, strength in (("warp", s), ("warp_strong", 4.0)):
        grid = torch.clamp(identity_grid + strength * noise_grid / size, -1, 1)
        out[name] = F.grid_sample(images, grid.repeat(2, 1, 1, 1), align_corners=True).numpy()
    out["warp_images"], out["warp_field"] = images.numpy(), ins.numpy()[0]

    # SIG: v(i, j) = delta sin(2 pi j f / m), 1 <= j <= m, here from 0
    delta, f, m = 20 / 255, 6, 30
    v = np.array([[delta * np.sin(2 * np.pi * j * f / m) for j in range(m)] for _ in range(4)])
    sig = rng.uniform(size=(2, 4, m))
    out["sig_images"], out["sig"] = sig, np.clip(sig + v, 0, 1)

    np.savez_compressed(Path(__file__).parent / "references.npz", **out)


if __name__ == "__main__":
    main()
