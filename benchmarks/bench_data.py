"""Images per second: listed, read and decoded, from the cache, streamed with and without
augmentation; from disk and S3.

    make bench-data                        # about a minute; writes doc/benchmarks_data.md
    make bench-data ARGS="--images 20000"  # more images, steadier numbers

S3 is the store `weed` on loopback, which the tests use too. It shares the processor with the reader
and has no network, so it shows the cost of the reader, not of a network. The last table trains a
flow like that of application 2, on images in memory and on the streams.
"""

import argparse
import datetime
import io
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from mapping import machine  # noqa: E402

PAGE = ROOT / "doc" / "benchmarks_data.md"
BATCH = 64
HEAD = """# Image data: measured

    make bench-data{arguments}

{when}; {machine}, load {load:.1f} before the start; TensorFlow {tensorflow}, Pillow
{pillow}. {images:,} images of each kind, batches of {batch}. Images per second; for the listing,
names per second. S3 is a store on the same machine and shares its cores.

- **cold**: listed, read, decoded, resized, and written to the empty cache and into memory.
- **cached**: opened again: listed, and read from the cache into memory.
- **stream**: batches in random order from shards of the cache, more than the memory allowed;
  **augmented**: flipped, rotated by up to 15 degrees, zoomed by 10%, sheared by 5 degrees, shifted
  by 10%.

| pictures | from | list | cold | cached | stream | stream, augmented |
|---|---|---|---|---|---|---|
"""
STEPS = """
Images per second in training a flow like that of application 2 (Glow, {levels} levels of {depth}
steps, {hidden} channels), batch {batch}, after compilation. The images are in memory, or come from
the stream while the previous step is computed:

| pictures | from memory | from the stream | from the stream, augmented |
|---|---|---|---|
"""
GLOW = {"levels": 2, "depth": 8, "hidden": (64, 64)}


def photographs(count: int) -> list[bytes]:
    """JPEG files of 256x256 pixels in colour: pieces of the photographs inside scikit-learn."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, sources, files = np.random.default_rng(0), load_sample_images().images, []
    for number in range(count):
        source = sources[number % len(sources)]
        y, x = (int(rng.integers(side - 256)) for side in source.shape[:2])
        file = io.BytesIO()
        Image.fromarray(source[y : y + 256, x : x + 256]).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def silhouettes(count: int) -> list[bytes]:
    """PNG files of 28x28 grey pixels."""
    from flow_models.data.images import embedded
    from flow_models.data.images.export import png

    images = embedded.load("silhouettes").train
    return [png(images[number % len(images)]) for number in range(count)]


KINDS = {  # the files, and the size and channels to read
    "silhouettes, PNG 28x28 grey": (silhouettes, (28, 1)),
    "photographs, JPEG 256x256 to 64x64 colour": (photographs, (64, 3)),
}


def write(files: list[bytes], root: str) -> None:
    """Writes ten classes and two validation images."""
    from flow_models.core import storage

    names = [f"train/{number % 10}/{number:06d}" for number in range(len(files))] + [
        "val/0/0",
        "val/1/1",
    ]
    endings = [".png" if data[1:4] == b"PNG" else ".jpg" for data in files]
    jobs = zip(names, endings + endings[:2], files + files[:2])
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda job: storage.write_bytes(storage.join(root, job[0] + job[1]), job[2]), jobs
            )
        )


def timed(function, *arguments, **settings):
    start = time.perf_counter()
    result = function(*arguments, **settings)
    return time.perf_counter() - start, result


def measure(
    root: str, count: int, size: int, channels: int, cache: str
) -> tuple[list[float], dict, np.ndarray]:
    """Rates of a row, the streams by their name, and the pictures in memory."""
    from flow_models.data.images import Skipped, open_images
    from flow_models.data.images.augmentation import Augmentation
    from flow_models.data.images.listing import list_images

    settings = {
        "size": size,
        "channels": channels,
        "cache_dir": cache,
        "batch_size": BATCH,
        "progress": False,
    }
    list_seconds, _ = timed(list_images, f"{root}/train", Skipped(), None, False)
    cold_seconds, _ = timed(open_images, root, **settings)
    cached_seconds, data = timed(open_images, root, **settings)
    assert len(data.train) == count and not data.skipped.counts
    augment = Augmentation(flip=True, rotation=15, zoom=0.1, shear=5, shift=0.1)
    small = {**settings, "memory_limit_mb": 0.01}  # so that even a few images are streamed
    streams = {
        "plain": open_images(root, **small).train,
        "augmented": open_images(root, augment=augment, **small).train,
    }
    assert all(
        each.element_spec.shape == (BATCH, size, size, channels) for each in streams.values()
    )
    rates = [count / list_seconds, count / cold_seconds, count / cached_seconds]
    return rates + [stream_rate(each) for each in streams.values()], streams, data.train


def stream_rate(stream, number: int = 100) -> float:
    """Images per second over many more batches than are prefetched."""
    batches = iter(stream)
    next(batches)
    seconds, _ = timed(lambda: [next(batches) for _ in range(number)])
    return number * BATCH / seconds


def training_rate(pictures, shape, steps: int) -> float:
    """Images per second of `fit`, without compilation."""
    import flow_models as fm

    model = fm.Model(fm.glow_image(shape, **GLOW), codecs={"x": fm.Pixels(*shape)})
    settings = fm.FitSettings(steps=steps, batch_size=BATCH, learning_rate=1e-4)
    return fm.fit(model, pictures, None, settings, progress=False).steps_per_second * BATCH


def page(rows: list, steps: list, images: int, load: float) -> str:
    import PIL
    import tensorflow as tf

    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    arguments = f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""
    text = HEAD.format(
        arguments=arguments,
        when=when,
        machine=machine(),
        load=load,
        tensorflow=tf.__version__,
        pillow=PIL.__version__,
        images=images,
        batch=BATCH,
    )
    text += "".join(
        f"| {kind} | {place} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |\n"
        for kind, place, rates in rows
    )
    text += STEPS.format(batch=BATCH, **{**GLOW, "hidden": GLOW["hidden"][0]})
    return text + "".join(
        f"| {kind} | " + " | ".join(f"{each:,.0f}" for each in times) + " |\n"
        for kind, times in steps
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=2_000, help="pictures of each kind (default 2000)"
    )
    parser.add_argument(
        "--steps", type=int, default=25, help="training steps that are timed (default 25)"
    )
    given = parser.parse_args()
    load = os.getloadavg()[0]
    from servers import s3_server

    import flow_models  # noqa: F401

    folder, rows, steps = tempfile.mkdtemp(prefix="bench-data-"), [], []
    try:
        with s3_server() as server:
            server.client().create_bucket(Bucket="bench")
            for number, (kind, (make, (size, channels))) in enumerate(KINDS.items()):
                files = make(given.images)
                for place, root in (("disk", f"{folder}/{number}"), ("S3", f"s3://bench/{number}")):
                    write(files, root)
                    rates, streams, memory = measure(
                        root, given.images, size, channels, f"{folder}/cache-{place}"
                    )
                    rows.append((kind, place, rates))
                    print(kind, place, [f"{rate:,.0f}" for rate in rates], flush=True)
                shape = (size, size, channels)
                fed = (memory, streams["plain"], streams["augmented"])
                times = [training_rate(pictures, shape, given.steps) for pictures in fed]
                steps.append((kind, times))
                print(kind, [f"{each:,.0f} images/s in training" for each in times], flush=True)
        PAGE.write_text(page(rows, steps, given.images, load))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
