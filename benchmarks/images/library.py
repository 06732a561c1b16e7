"""Commands of an image worker besides those of `flows.protocol`."""

import ctypes
import dataclasses
import gc
from pathlib import Path

import numpy as np
from flows import protocol


@dataclasses.dataclass
class ImageData:
    """Images uint8 [n, H, W, C]."""

    train: np.ndarray


class ImageLibrary(protocol.Library):
    """Loads images by name on command, and knows its resident memory."""

    commands = ("load", "resident", "bits_per_dim")

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def load(self, images: str) -> dict:
        """Reads `images`.npy of the folder, the training pixels."""
        self.data = ImageData(np.load(self.folder / f"{images}.npy"))
        return {"images": len(self.data.train)}

    def resident(self) -> dict:
        """Resident memory now, MB, after free memory is returned; the highest value counts from
        here on."""
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return {"resident_mb": protocol.memory_mb("VmRSS")}

    def bits_per_dim(self, levels: str) -> dict:
        """-log2 p per dimension of the dequantised levels `levels`.npy, float32 [n, H, W, C]:
        [n]."""
        x = np.load(self.folder / f"{levels}.npy")
        nats = -np.asarray(self.log_prob(x), np.float64)
        return {"bits_per_dim": (nats / (np.log(2) * x[0].size)).tolist()}
