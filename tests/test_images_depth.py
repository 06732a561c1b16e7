"""Pictures of more than 8 bits: scaled by the range of the set, in training and scoring."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data.images import open_images
from flow_models.data.images.depth import find_range, levels, values
from flow_models.models.pixels import Pixels


def png16(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits of values [H, W, C], which Pillow cannot write in colour."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in parts)


def tiff(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


def drawn(seed: int, top: int, channels=1) -> np.ndarray:
    found = np.random.default_rng(seed).integers(0, top + 1, (8, 8, channels))
    found[0, 0], found[0, 1] = 0, top
    return found


def folder(place, files: dict[str, bytes]):
    place.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    return str(place)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_a_set_of_some_bits_is_scaled_by_its_range(bits, channels, tmp_path):
    """As if the same pixels had been multiplied by a power of two, to fill 16 bits."""
    top = 2**bits - 1
    pictures = [drawn(seed, top, channels) for seed in range(20)]
    files = {f"{n:02d}.png": png16(pixels) for n, pixels in enumerate(pictures)}
    data = open_images(folder(tmp_path / "set", files), cache_dir=None)
    assert data.depth == (0, top + 1) and data.shape == (8, 8, channels)
    assert f"values 0 to {top + 1} scaled to 8 bits" in data.source
    expected = {(each >> (bits - 8)).astype(np.uint8).tobytes() for each in pictures}
    found = [image.tobytes() for image in (*data.examples, *data.validation)]
    assert set(found) == expected and len(found) == 20
    pixels = Pixels(8, 8, channels, depth=data.depth)
    _, (first, *_) = next(pixels.read(str(tmp_path / "set")))
    np.testing.assert_array_equal(first, pictures[0] >> (bits - 8))


def test_depth_in_millimetres_and_heights_in_metres(tmp_path):
    """A narrow range far from 0 uses all 256 levels; so do decimals."""
    ramp = np.linspace(30_000, 30_511, 64).reshape(8, 8)
    files = {f"{n}.png": png16(ramp.round()[..., None]) for n in range(12)}
    data = open_images(folder(tmp_path / "mm", files), cache_dir=None)
    assert data.depth == (30_000, 30_512) and list(data.examples[0].ravel()[[0, -1]]) == [0, 255]
    files = {f"{n}.TIFF": tiff((ramp / 1000).astype(np.float32)) for n in range(12)}
    data = open_images(folder(tmp_path / "m", files), cache_dir=None)
    np.testing.assert_allclose(data.examples[0].ravel(), np.linspace(0, 255.99, 64), atol=1.01)
    files = {f"{n}.tif": tiff((ramp - 30_100).astype(np.int32)) for n in range(12)}
    assert open_images(folder(tmp_path / "i", files), cache_dir=None).depth[0] == -100


def test_hot_pixels_are_clipped_and_told(tmp_path):
    files = {f"{n:02d}.png": png16(drawn(n, 1023)) for n in range(20)}
    hot = drawn(20, 1023)
    hot[4, 4] = 65_535
    files["hot.png"] = png16(hot)
    with pytest.warns(FlowModelsWarning, match="values 0 to 65535, nearly all between 0 and 1023"):
        data = open_images(folder(tmp_path / "set", files), cache_dir=None)
    assert data.depth == (0, 1024) and data.examples.std() > 60


def test_what_cannot_be_scaled_is_named(tmp_path):
    broken = np.ones((8, 8), np.float32)
    broken[3, :2] = np.nan
    files = {f"{n}.tif": tiff(np.random.rand(8, 8).astype(np.float32)) for n in range(12)}
    files["nan.tif"] = tiff(broken)
    data = open_images(folder(tmp_path / "set", files), cache_dir=None)
    assert data.skipped.counts["unreadable"] == 1
    assert "2 of 64 values are NaN" in data.skipped.first("unreadable")
    with pytest.raises(ValueError, match="LA;16B cannot be read in full"):
        values(png16(drawn(0, 4095, 2)))
    with pytest.raises(ValueError, match="no range known"):
        levels(np.ones((2, 2)), None)
    with pytest.raises(UserError, match="one value 7"):
        find_range([np.full((2, 2), 7)], "set")


def test_colour_with_alpha_and_turned_pictures_keep_their_depth():
    rgba = np.concatenate([drawn(0, 4095, 3), np.full((8, 8, 1), 65_535)], -1)
    np.testing.assert_array_equal(values(png16(rgba)), rgba)


def test_depths_that_differ_are_told(tmp_path):
    deep, flat = folder(tmp_path / "deep", {"a.png": png16(drawn(0, 4095))}), io.BytesIO()
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(flat, "PNG")
    shallow = folder(tmp_path / "flat", {"a.png": flat.getvalue()})
    with pytest.warns(FlowModelsWarning, match="more than 8 bits where those learned have 8"):
        ((_, found),) = Pixels(8, 8, 1).read(deep)
    assert found.dtype == np.uint8 and found.shape == (1, 8, 8, 1)
    assert found.max() <= 4095 // 256, "of 16 bits"
    with pytest.warns(FlowModelsWarning, match="8 bits beside deeper ones"):
        ((_, found),) = Pixels(8, 8, 1, depth=(0.0, 4096.0)).read(shallow)
    np.testing.assert_array_equal(found[0, :, :, 0], np.eye(8))


def test_a_model_keeps_the_range(tmp_path):
    pixels = Pixels(8, 8, 1, 5, 2, depth=(0.0, 4096.0))
    flow = fm.architectures.build_image("glow", pixels, levels=1, depth=1, hidden=(4, 4))
    fm.Model(flow, codecs={"x": pixels}, jit=False).save(str(tmp_path / "m"))
    assert fm.load(str(tmp_path / "m"), jit=False).codec.depth == (0.0, 4096.0)
