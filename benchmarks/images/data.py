"""The images that both libraries see, drawn once and kept as files.

    python -m images.data FOLDER [silhouettes]        in the project's environment

Speed uses noise, because its time does not depend on the content. Quality uses silhouettes of
animals in the fixed split of the project, with one draw of uniform noise on the held-out ones, the
same for both libraries.
"""

import json
import sys
from pathlib import Path

import numpy as np

NOISE = {
    "noise_32x32x3": (512, 32, 32, 3),
    "noise_64x64x3": (256, 64, 64, 3),
    "noise_28x28x1": (2048, 28, 28, 1),
}
# part -> seed of its noise, most images
HELD_OUT = {"validation": (31, 500), "test": (32, 1000)}
SET = "silhouettes"


def draw_noise(folder: str | Path) -> None:
    """Writes NOISE as uint8 [n, H, W, C]."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, shape in NOISE.items():
        np.save(
            Path(folder) / f"{name}.npy",
            np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
        )


def draw_silhouettes(folder: str | Path) -> None:
    """Writes SET_train as uint8, SET_validation and SET_test as float32 levels, and images.json:
    what they are."""
    from flow_models.data.images import embedded

    folder, found = Path(folder), embedded.load(SET)
    np.save(folder / f"{SET}_train.npy", found.examples)
    counts = {"train": len(found.examples)}
    for part, (seed, most) in HELD_OUT.items():
        pixels = getattr(found, part)[:most]
        np.save(folder / f"{SET}_{part}.npy", dequantised(pixels, seed))
        counts[part] = len(pixels)
    about = {
        "set": SET,
        "source": found.source,
        "licence": found.licence,
        "shape": list(found.shape),
        "counts": counts,
    }
    (folder / "images.json").write_text(json.dumps(about, indent=1))


def dequantised(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Levels in [0, 256): pixels plus uniform noise, float32, never rounded up to the next
    level."""
    noise = np.random.default_rng(seed).random(pixels.shape, np.float32)
    return np.minimum(pixels + noise, np.nextafter(pixels + np.float32(1), np.float32(0)))


if __name__ == "__main__":
    draw_noise(sys.argv[1])
    if sys.argv[2:] == [SET]:
        draw_silhouettes(sys.argv[1])
