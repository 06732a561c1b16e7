"""Images: opening folders and embedded sets, caching, streaming, augmentation. All of it but the
augmentation works without TensorFlow."""

from flow_models.data.images import embedded
from flow_models.data.images.dataset import ImageData, Skipped
from flow_models.data.images.opening import open_images
from flow_models.data.images.scoring import read_images

__all__ = ["ImageData", "Skipped", "embedded", "open_images", "read_images"]
