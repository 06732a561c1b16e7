"""Pictures in folders: listing, decoding, the cache that runs share, streams, and one line for each
mistake."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data.images import Skipped, open_images, read_images
from flow_models.data.images import cache as image_cache
from flow_models.data.images import listing as image_listing
from flow_models.data.images import reading as image_reading
from flow_models.data.images import store as image_store
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.images.export import write_set
from flow_models.data.images.layout import hold_out
from flow_models.data.images.reading import BadImage, Rule


def picture(number: int, height=8, width=8, channels=1) -> np.ndarray:
    """A picture that is known by its number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), np.uint8)


def encoded(pixels: np.ndarray, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, kind, **options)
    return file.getvalue()


def write(folder, name: str, content) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else encoded(content))


@pytest.fixture
def folder(tmp_path):
    """train: 40 cats and 20 dogs; val: 4 cats and 2 dogs; numbered through."""
    place, number = tmp_path / "pets", 0
    for name, count in (("train/cat", 40), ("train/dog", 20), ("val/cat", 4), ("val/dog", 2)):
        for _ in range(count):
            write(place, f"{name}/{number:03d}.png", picture(number))
            number += 1
    return place


@pytest.fixture
def opened(tmp_path):
    def call(uri, *rest, **settings):
        return open_images(str(uri), *rest, **{"cache_dir": str(tmp_path / "cache"), **settings})

    return call


def numbers_of(images: np.ndarray, known: int = 70) -> list[int]:
    names = {picture(number).tobytes(): number for number in range(known)}
    return [names[image.tobytes()] for image in images]


# Folders


def test_a_folder_of_train_and_val(folder, opened):
    data = opened(folder)
    assert (
        sorted(numbers_of(data.train)) == list(range(60))
        and data.shape == (8, 8, 1)
        and data.rows == 60
    )
    assert data.train is data.examples and data.classes == ("cat", "dog") and data.name == "train"
    for number, label in zip(numbers_of(data.train), data.example_labels):
        assert label == (number >= 40)
    assert sorted(numbers_of(data.validation)) == list(range(60, 66)) and data.test is None
    assert list(data.validation_labels) == [n >= 64 for n in numbers_of(data.validation)]
    assert data.held_out[0] is data.validation and str(data.skipped) == "nothing"
    other = opened(folder / "train", str(folder / "val"))
    np.testing.assert_array_equal(other.train, data.train)
    np.testing.assert_array_equal(other.validation, data.validation)
    np.testing.assert_array_equal(opened(folder / "train", str(folder)).validation, data.validation)


def test_a_test_part_is_found(folder, opened):
    write(folder, "test/dog/a.png", picture(66))
    data = opened(folder)
    assert (
        numbers_of(data.test) == [66]
        and list(data.test_labels) == [1]
        and data.held_out[0] is data.test
    )


def test_a_tenth_is_held_out_by_the_seed(folder, opened):
    data = opened(folder / "train")
    held = numbers_of(data.validation)
    assert sum(n < 40 for n in held) == 4 and sum(n >= 40 for n in held) == 2
    assert sorted(held + numbers_of(data.train)) == list(range(60))
    assert numbers_of(opened(folder / "train").validation) == held
    assert numbers_of(opened(folder / "train", seed=1).validation) != held
    assert "a tenth held out" in data.source


def test_what_is_held_out_stays_when_files_come(folder):
    def held(place):
        files = image_listing.list_images(str(place), Skipped())
        return {files.uri(row) for files in [hold_out(files, 3)[1]] for row in range(len(files))}

    before = held(folder / "train")
    write(folder, "train/cat/new.png", picture(99))
    assert len(held(folder / "train") & before) >= len(before) - 1


def test_a_flat_folder_is_one_class(tmp_path, opened):
    for number in range(20):
        write(tmp_path / "flat", f"{number}.PNG", picture(number))
    write(tmp_path / "more", "x/deep/20.png", picture(20))
    data = opened(tmp_path / "flat", str(tmp_path / "more"))
    assert data.classes == ("all",) and len(data.train) == 20 and set(data.example_labels) == {0}
    assert numbers_of(data.validation) == [20]


def test_trains_may_be_a_class(tmp_path, opened):
    for number in range(20):
        write(
            tmp_path / "vehicles", f"{('train', 'car')[number % 2]}/{number}.png", picture(number)
        )
    assert opened(tmp_path / "vehicles").classes == ("car", "train")


def test_classes_can_be_chosen(folder, opened):
    data = opened(folder, classes=["dog"])
    assert sorted(numbers_of(data.train)) == list(range(40, 60)) and sorted(
        numbers_of(data.validation)
    ) == [64, 65]
    turned = opened(folder, classes=["dog", "cat"])
    assert turned.classes == ("dog", "cat") and turned.example_labels.sum() == 40
    with pytest.raises(UserError, match=r"no class in .*train/? 'dogs'; did you mean 'dog'"):
        opened(folder, classes=["dogs"])


def test_endings_hidden_files_and_strangers(folder, opened):
    for name, number in (("a.PNG", 66), ("b.Png", 67), ("deep/er/c.png", 68)):
        write(folder, f"train/cat/{name}", picture(number))
    write(folder, "train/cat/d.JPG", encoded(picture(69), "JPEG"))
    write(folder, "train2/cat/e.png", picture(0))
    write(folder, "train/cat/.f.png", picture(0))
    write(folder, "train/.cache/g.png", picture(0))
    write(folder, "train/cat/notes.txt", b"x")
    write(folder, "train/beside.png", picture(0))
    data = opened(folder)
    seen = {image.tobytes() for image in data.train}
    assert len(data.train) == 64 and all(picture(number).tobytes() in seen for number in range(60))
    assert all(picture(number).tobytes() in seen for number in (66, 67, 68))
    assert data.skipped.counts == {"hidden": 2, "other": 2}
    names = {os.path.basename(uri) for _, uri, _ in data.skipped.examples}
    assert names == {".f.png", ".cache", "notes.txt", "beside.png"}
    assert data.classes == ("cat", "dog")


def test_empty_folders_and_pictures_beside_folders_are_told(folder, opened):
    (folder / "train" / "cow").mkdir()
    write(folder, "train/beside.png", picture(0))
    with pytest.warns(FlowModelsWarning) as told:
        assert opened(folder).classes == ("cat", "dog")
    lines = " ".join(str(each.message) for each in told)
    assert "no classes: cow" in lines and "left out: 1; the first" in lines and "beside" in lines


def test_unreadable_files_are_listed_and_bounded(folder, opened):
    whole = encoded(picture(0, 64, 64, 3), "JPEG")
    write(folder, "train/cat/cut.jpg", whole[: len(whole) // 2])
    write(folder, "train/cat/empty.png", b"")
    write(folder, "train/dog/text.png", b"no picture at all")
    os.symlink("nowhere", folder / "train/dog/link.png")
    data = opened(folder, size=8, channels=1)
    assert sorted(numbers_of(data.train)) == list(range(60)) and str(data.skipped) == "4 unreadable"
    reasons = {os.path.basename(uri): reason for _, uri, reason in data.skipped.examples}
    assert "truncated" in reasons["cut.jpg"] and reasons["empty.png"] == "an empty file"
    assert reasons["text.png"] == "not a readable picture" and "no such file" in reasons["link.png"]
    with pytest.raises(
        UserError, match="4 unreadable pictures are more than --max-bad 3; the first: .*: "
    ):
        opened(folder, size=8, channels=1, max_bad=3)
    write(folder, "train/dog/text.png", picture(66))  # mended, and found to be
    assert str(opened(folder, size=8, channels=1).skipped) == "3 unreadable"


def test_a_mended_permission_is_noticed(folder, opened, monkeypatch):
    """What was unreadable is tried again, though neither its size nor its time have changed."""
    refused = str(folder / "train/cat/007.png")
    real = image_reading.storage.read_bytes

    def read(uri):
        if uri == refused:
            raise UserError(f"{uri}: permission denied") from PermissionError(13, "denied")
        return real(uri)

    monkeypatch.setattr(image_reading.storage, "read_bytes", read)
    data = opened(folder)
    assert (
        data.skipped.examples == [("unreadable", refused, "permission denied")]
        and len(data.train) == 59
    )
    monkeypatch.undo()
    assert sorted(numbers_of(opened(folder).train)) == list(range(60))


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda f, call: call(f / "trane"),
            "no such folder, and no embedded set has this name; the sets are silhouettes",
        ),
        (lambda f, call: call("mnits"), "no embedded set has this name"),
        (lambda f, call: call(f / "train", str(f / "none")), "none: "),
        (lambda f, call: call(f / "train" / "empty"), "no such folder"),
        (lambda f, call: call(f, size=0), "an image size is one number of pixels or two"),
        (lambda f, call: call(f, size=(3, 4, 5)), "an image size is one number"),
        (lambda f, call: call(f, channels=2), "channels are 1"),
        (lambda f, call: call(f, crop="left"), "crop is 'center' or 'none', got 'left'"),
        (lambda f, call: call(f, cache_limit_mb=0), "above 0 MB"),
        (lambda f, call: call(f, cache_dir="s3://b/c"), "cache of images is a local folder"),
        (
            lambda f, call: call(f, batch_size=61, augment=Augmentation(flip=True)),
            "60 training rows are fewer than one",
        ),
    ],
)
def test_mistakes_are_one_line(folder, opened, make, message):
    with pytest.raises(UserError, match=message) as caught:
        make(folder, opened)
    assert "\n" not in str(caught.value)


def test_a_folder_without_pictures(tmp_path, opened):
    write(tmp_path / "none", "train/a.txt", b"x")
    with pytest.raises(UserError, match=r"no picture here \(.png, .jpg, .*\); skipped: 1 other"):
        opened(tmp_path / "none")


def test_different_sizes_and_colours_are_told(folder, opened):
    write(folder, "train/cat/wide.png", picture(0, 8, 12))
    with pytest.raises(UserError, match="(different sizes|8x12 pixels).*--image-size"):
        opened(folder)
    assert opened(folder, size=8).train.shape == (61, 8, 8, 1)
    write(folder, "train/cat/wide.png", picture(0, 8, 8, 3))
    data = None
    try:  # where the one picture in colour is among those looked at first, all become colour
        data = opened(folder)
    except UserError as error:
        assert "this picture is in colour, others are grey: give --channels" in str(error)
    assert data is None or data.shape == (8, 8, 3)
    assert opened(folder, channels=3).shape == (8, 8, 3) and opened(folder, channels=1).shape == (
        8,
        8,
        1,
    )


# Decoding


def test_png_is_decoded_exactly():
    for channels in (1, 3):
        pixels = picture(1, 5, 9, channels)
        np.testing.assert_array_equal(
            image_reading.decode(encoded(pixels), Rule(5, 9, channels)), pixels
        )


def test_jpeg_keeps_a_smooth_picture():
    smooth = np.broadcast_to(
        np.arange(0, 256, 4, dtype=np.uint8)[:, None, None], (64, 48, 3)
    ).copy()
    read = image_reading.decode(encoded(smooth, "JPEG", quality=95), Rule(64, 48, 3))
    assert abs(read.astype(int) - smooth).max() <= 3


def test_grey_and_colour():
    colour = np.zeros((1, 3, 3), np.uint8)
    colour[0, np.arange(3), np.arange(3)] = 255
    grey = image_reading.decode(encoded(colour), Rule(1, 3, 1))[0, :, 0]
    assert list(grey) == [76, 150, 29]  # 0.299, 0.587, 0.114 of 255
    repeated = image_reading.decode(encoded(picture(2)), Rule(8, 8, 3))
    assert (repeated == picture(2)).all()


def test_sixteen_bits_palettes_and_transparency():
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(file, "PNG")
    assert list(image_reading.decode(file.getvalue(), Rule(1, 3, 1)).ravel()) == [0, 1, 255]
    file = io.BytesIO()
    Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8), "RGBA").save(
        file, "PNG"
    )
    assert image_reading.decode(file.getvalue(), Rule(1, 2, 3)).tolist() == [
        [[10, 20, 30], [255, 255, 255]]
    ]
    file = io.BytesIO()
    Image.fromarray(np.tile(np.uint8([[[255, 0, 0], [0, 0, 255]]]), (4, 4, 1))).quantize(2).save(
        file, "PNG"
    )
    assert image_reading.decode(file.getvalue(), Rule(4, 8, 3))[0, :2].tolist() == [
        [255, 0, 0],
        [0, 0, 255],
    ]


@pytest.mark.parametrize(
    "orientation, upright",
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).transpose(1, 0, 2)),
        (8, lambda x: np.rot90(x, 1)),
    ],
)
def test_pictures_are_turned_upright(orientation, upright):
    pixels, exif = picture(3, 4, 6, 3), Image.Exif()
    exif[0x0112] = orientation
    data, expected = encoded(pixels, exif=exif), upright(pixels)
    assert image_reading.header(data) == (*expected.shape[:2], 3)
    np.testing.assert_array_equal(
        image_reading.decode(data, Rule(*expected.shape, exact_size=True)), expected
    )


def test_resizing_covers_and_crops():
    wide = np.zeros((40, 100, 1), np.uint8)
    wide[:, 30:70] = 200  # the square in the middle
    square = image_reading.decode(encoded(wide), Rule(10, 10, 1)).astype(int)
    assert (square[:, 2:-2] == 200).all() and abs(square - 200).max() < 20
    stretched = image_reading.decode(encoded(wide), Rule(10, 10, 1, crop="none"))
    assert (stretched[:, 4:6] >= 200).all() and (stretched[:, [0, 1, 8, 9]] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_resizing_does_not_alias(kind):
    """Stripes finer than the result can show become even grey, not other stripes."""
    stripes = np.zeros((330, 330, 1), np.uint8)
    stripes[:, ::2] = 255
    small = image_reading.decode(encoded(stripes, kind), Rule(32, 32, 1)).astype(int)
    assert abs(small - 127).max() <= 6


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a" + b"x" * 50, b"\x89PNG\r\n\x1a\n", encoded(picture(0))[:60]]
)
def test_broken_files_have_a_reason(content):
    with pytest.raises(BadImage, match="empty|not a readable picture|broken"):
        image_reading.decode(content, Rule(8, 8, 1))


def test_the_first_frame_of_several_is_taken_and_told():
    frames = [Image.fromarray(picture(number)[..., 0]) for number in range(3)]
    for kind in ("GIF", "TIFF"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:])
        with pytest.warns(FlowModelsWarning, match="several frames or pages: the first one"):
            found = image_reading.decode(file.getvalue(), Rule(8, 8, 1))
        np.testing.assert_array_equal(found, picture(0))


def test_cmyk_and_one_bit_pictures():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    file = io.BytesIO()
    red.save(file, "JPEG", quality=95)
    found = image_reading.decode(file.getvalue(), Rule(8, 8, 3)).astype(int)
    assert abs(found - [255, 0, 0]).max() < 8
    file = io.BytesIO()
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("1").save(file, "PNG")
    found = image_reading.decode(file.getvalue(), Rule(8, 8, 1))
    np.testing.assert_array_equal(found[..., 0], np.eye(8) * 255)
    greys = Image.fromarray(picture(1)[..., 0]).quantize(16)
    file = io.BytesIO()
    greys.save(file, "PNG")
    assert image_reading.header(file.getvalue()) == (8, 8, 1), "a palette of greys is grey"


def test_parallel_reading_is_bounded_and_in_order():
    import threading
    import time
    from concurrent.futures import ThreadPoolExecutor

    lock, running, most, taken = threading.Lock(), 0, 0, []

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001 * (item % 3))
        with lock:
            running -= 1
        return item

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(8) as pool:
        results = image_reading.bounded_map(pool, work, items(), 12)
        assert (
            next(results) == 0 and len(taken) == 12
        )  # no more is asked of the listing than is in flight
        assert list(results) == list(range(1, 100)) and most <= 8


# The listing


def test_a_listing_is_compact(tmp_path):
    """A hundred thousand names take about a hundred bytes each."""
    import tracemalloc

    def found():
        for number in range(100_000):
            name = f"{tmp_path}/{'ab'[number % 2]}/{number:08d}.png"
            yield image_listing.storage.Found(name, number, "1", False)

    tracemalloc.start()
    files = image_listing._collect(f"{tmp_path}/", found(), Skipped(), False)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(files) == 100_000 and files.classes == ("a", "b") and kept < 8e6 and peak < 25e6
    assert files.uri(99_999) == f"{tmp_path}/b/00099999.png" and files.labels[99_999] == 1


def test_shards_mix_classes_and_stay_when_files_come():
    rng = np.random.default_rng(0)
    order = rng.integers(0, 2**64, 5_000, np.uint64)
    shards = image_store._cut(order, 100)
    assert sorted(np.concatenate(shards)) == list(range(5_000)) and len(shards) == 16
    assert max(map(len, shards)) < 450 and all(
        0.35 < (shard < 2_500).mean() < 0.65 for shard in shards
    )
    more = image_store._cut(np.append(order, np.uint64(2**63)), 100)
    assert sum(not np.array_equal(a, b) for a, b in zip(shards, more)) == 1
    assert [list(shard) for shard in image_store._cut(order[:1], 10)] == [[0]]


# The cache


def _counted(monkeypatch):
    asked, real = [], image_reading.storage.read_bytes
    monkeypatch.setattr(
        image_reading.storage, "read_bytes", lambda uri: asked.append(uri) or real(uri)
    )
    return asked


def test_pictures_are_decoded_once(folder, opened, monkeypatch):
    asked = _counted(monkeypatch)
    first = opened(folder, size=8, channels=1)
    assert len(asked) == 66
    asked.clear()
    second = opened(folder, size=8, channels=1)
    assert asked == []
    np.testing.assert_array_equal(first.train, second.train)
    opened(folder, size=4, channels=1)
    assert len(asked) == 66  # another size is other pixels


def test_a_changed_file_is_read_again(folder, opened):
    opened(folder)
    write(folder, "train/cat/005.png", picture(66))
    os.utime(folder / "train/cat/005.png", ns=(1, 1))
    assert sorted(numbers_of(opened(folder).train)) == [n for n in range(60) if n != 5] + [66]


def test_a_damaged_shard_is_read_again(folder, opened, tmp_path):
    opened(folder)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:150])
    assert sorted(numbers_of(opened(folder).train)) == list(range(60))
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"\x80\x04 pickle?")
    assert sorted(numbers_of(opened(folder).train)) == list(range(60))


def test_without_a_cache_nothing_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert len(open_images(str(folder), cache_dir=None).train) == 60
    assert not (tmp_path / "xdg").exists()
    open_images(str(folder))
    assert list((tmp_path / "xdg" / "flow_models" / "images").iterdir())


def test_the_cache_keeps_what_was_used_last(tmp_path):
    cache = image_cache.ShardCache(tmp_path, 2_500 / 2**20)
    shard = image_cache.Shard(np.arange(8), np.zeros((8, 10, 10, 1), np.uint8))
    for place, key in enumerate("abc"):
        cache.put(key, shard)
        if key in "ab":
            os.utime(tmp_path / f"{key}.shard", (place, place))
    assert (
        cache.get("a") is None and cache.get("c") is not None
    )  # each takes a little over 1,000 bytes
    os.utime(tmp_path / "c.shard", (1, 1))
    assert cache.get("b") is not None  # used now
    cache.put("d", shard)
    assert cache.get("c") is None and cache.get("b") is not None and cache.get("d") is not None
    small = image_cache.ShardCache(tmp_path / "small", 10 / 2**20)
    small.put("a", shard)
    assert small.get("a") is not None  # the one just made stays


def test_a_shard_in_use_outlives_its_removal(tmp_path):
    cache = image_cache.ShardCache(tmp_path, 1)
    cache.put("a", image_cache.Shard(np.arange(3), np.stack([picture(n) for n in range(3)])))
    shard = cache.get("a")
    os.unlink(tmp_path / "a.shard")
    assert numbers_of(np.asarray(shard.images)) == [0, 1, 2]


def test_what_a_dead_run_left_is_removed(tmp_path):
    cache = image_cache.ShardCache(tmp_path, 1)
    for name, age in (("old.part", 10_000), ("new.part", 10)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (image_cache.time.time() - age,) * 2)
    cache.put("a", image_cache.Shard(np.arange(1), picture(0)[None]))
    assert {path.name for path in tmp_path.iterdir()} == {"new.part", "a.shard"}


def test_two_runs_share_a_cache(folder, tmp_path):
    """Four processes fill one cache of too small a size at the same time; each sees all
    pictures."""
    code = (
        "import sys; from flow_models.data.images import open_images, store\n"
        "store._SHARD_ROWS = 4\nfor _ in range(3):\n    d ="
        " open_images(sys.argv[1], cache_dir=sys.argv[2], cache_limit_mb=0.002, size=8,"
        " channels=1)\n    assert len(d.train) == 60, len(d.train)\n   "
        " print(int(d.train.astype(int).sum()))\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache")]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, outputs
    total = sum(int(picture(n).astype(int).sum()) for n in range(60))
    assert {line for out, _ in outputs for line in out.split()} == {str(total)}


def test_a_full_disk_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        UserError, match="a part of this path is a file.*--cache-dir names another folder"
    ):
        open_images(str(folder), cache_dir=str(tmp_path / "file" / "cache"))


# Streams


def _batches(dataset, number):
    return [batch.numpy() for batch in dataset.take(number)]


@pytest.fixture
def streamed(opened, monkeypatch):
    """Data that do not fit: 60 pictures of 64 bytes in shards of 4, shuffled 16 at a time, 1 kB of
    memory."""
    monkeypatch.setattr(image_store, "_SHARD_ROWS", 4)
    from flow_models.data.images import stream as image_stream

    monkeypatch.setattr(image_stream, "WINDOW_BYTES", 16 * 64)
    return lambda uri, **settings: opened(
        uri, **{"batch_size": 10, "memory_limit_mb": 1 / 2**10, **settings}
    )


def test_what_does_not_fit_is_streamed(folder, streamed):
    data = streamed(folder)
    assert (
        data.rows == 60
        and data.examples.shape == (4, 8, 8, 1)
        and data.validation.shape == (4, 8, 8, 1)
    )
    batches = _batches(data.train, 12)
    assert all(batch.shape == (10, 8, 8, 1) and batch.dtype == np.uint8 for batch in batches)
    for start in (0, 6):  # two passes, each over all pictures, in another order
        assert sorted(numbers_of(np.concatenate(batches[start : start + 6]))) == list(range(60))
    assert numbers_of(np.concatenate(batches[:6])) != numbers_of(np.concatenate(batches[6:]))
    assert numbers_of(_batches(streamed(folder).train, 1)[0]) == numbers_of(batches[0])
    assert numbers_of(_batches(streamed(folder, seed=1).train, 1)[0]) != numbers_of(batches[0])


def test_a_stream_goes_on_where_it_stopped(folder, streamed, monkeypatch):
    for augment in (None, Augmentation(flip=True, rotation=20)):
        data = streamed(folder, augment=augment)
        all_of_them = _batches(data.train, 9)
        for start in (1, 7):
            resumed = iter(data.train.repeat().skip(start))
            for expected in all_of_them[start:]:
                np.testing.assert_array_equal(next(resumed), expected)
    reads, nothing = [], np.zeros((10, 8, 8, 1), np.uint8)
    monkeypatch.setattr(
        image_store.ImageStore, "gather", lambda self, numbers: reads.append(1) or nothing
    )
    next(iter(streamed(folder).train.repeat().skip(10**9)))
    assert len(reads) < 20  # nothing is made to be thrown away


def test_classes_of_a_stream_are_chosen_when_it_is_opened(folder, streamed):
    with pytest.raises(UserError, match="chosen when they are opened"):
        streamed(folder).only(["cat"])
    batches = _batches(streamed(folder, classes=["dog"]).train, 2)
    assert sorted(numbers_of(np.concatenate(batches))) == list(range(40, 60))


def test_labelled_batches(folder, streamed):
    batch = next(iter(streamed(folder, labelled=True).train))
    assert batch["y"].shape == (10, 2) and batch["x"].shape == (10, 8, 8, 1)
    assert [int(y) for y in batch["y"].numpy().argmax(1)] == [
        n >= 40 for n in numbers_of(batch["x"].numpy())
    ]


def test_a_cache_smaller_than_the_data_reads_again(folder, streamed, monkeypatch):
    monkeypatch.setattr(image_store, "_OPEN", 2)
    data = streamed(folder, cache_limit_mb=0.001)
    assert sorted(numbers_of(np.concatenate(_batches(data.train, 6)))) == list(range(60))
    for path in (folder / "train").rglob("*.png"):
        path.unlink()
    with pytest.raises(
        UserError, match="no such file or folder.*; it was readable when this run began"
    ):
        for _ in zip(range(60), data.train):
            pass


def test_a_stream_needs_a_cache(folder, streamed):
    with pytest.raises(
        UserError, match="too many pictures for the memory allowed .* give --cache-dir"
    ):
        streamed(folder, cache_dir=None)


def test_the_trainer_takes_what_is_opened(folder, opened):
    """The engine's own source of batches, started twice, gives the same ones."""
    from flow_models.training.sources import make_source

    data = opened(folder, augment=Augmentation(shift=0.1), batch_size=8)
    source, again = make_source(data.train, 8, 0), make_source(data.train, 8, 0)
    (batches,) = source.chunk(0, 6)
    (resumed,) = again.chunk(4, 2)
    np.testing.assert_array_equal(batches[4:6], resumed[:2])
    assert source.first_rows(20).shape == (16, 8, 8, 1)


# Embedded sets by the same call


def test_an_embedded_set_and_its_files_are_the_same(tmp_path, opened):
    write_set("digits", str(tmp_path / "digits"))
    data, files = opened("digits"), opened(tmp_path / "digits")
    for part in ("examples", "validation", "test"):
        pixels, read = getattr(data, part), getattr(files, part)
        assert sorted(x.tobytes() for x in pixels) == sorted(x.tobytes() for x in read)
    assert files.classes == data.classes and str(files.skipped) == "nothing"
    held = opened("digits", str(tmp_path / "digits"), classes=["3", "8"])
    assert (
        held.classes == ("3", "8")
        and len(held.validation) == (data.validation_labels % 5 == 3).sum()
    )


def test_an_embedded_set_takes_all_options(opened):
    data = opened(
        "digits",
        size=(12, 10),
        channels=3,
        classes=["1"],
        augment=Augmentation(flip=True),
        batch_size=16,
    )
    assert (
        data.shape == (12, 10, 3)
        and data.test.shape[1:] == (12, 10, 3)
        and set(data.example_labels) == {0}
    )
    assert next(iter(data.train)).shape == (16, 12, 10, 3)


# Scoring


def test_pictures_to_be_scored(folder):
    names, images = zip(*read_images(str(folder / "train"), 8, 1, batch_size=25))
    assert [len(batch) for batch in images] == [25, 25, 10] == [len(batch) for batch in names]
    assert numbers_of(np.concatenate(images)) == list(range(60)) and names[0][0].endswith(
        "cat/000.png"
    )
    assert [x.shape for _, x in read_images(str(folder / "train/cat/003.png"), (4, 6), 3)] == [
        (1, 4, 6, 3)
    ]
    assert next(read_images("digits", 8, 1, batch_size=7))[0][0].startswith("digits/test/")


def test_unreadable_pictures_to_be_scored(folder):
    write(folder, "val/cat/bad.png", b"x")
    log = Skipped()
    assert sum(len(names) for names, _ in read_images(str(folder / "val"), 8, 1, log=log)) == 6
    assert log.counts["unreadable"] == 1
    with pytest.raises(
        UserError, match="1 unreadable pictures are more than --max-bad 0; .*not a readable"
    ):
        list(read_images(str(folder / "val"), 8, 1, max_bad=0))
    with pytest.raises(UserError, match="^[^ ]*bad.png: not a readable picture$"):
        list(read_images(str(folder / "val/cat/bad.png"), 8, 1))
    with pytest.raises(UserError, match="no such file"):
        list(read_images(str(folder / "val/cat/none.png"), 8, 1))


def test_scoring_reads_no_more_than_it_gives(folder, monkeypatch):
    """The first batch of a folder of any length comes before the rest is read."""
    asked = _counted(monkeypatch)
    listed = (str(folder / "train/cat/000.png") for _ in range(100_000))
    monkeypatch.setattr(
        "flow_models.data.images.scoring.storage.list_prefix", lambda uri, suffixes: listed
    )
    next(read_images(str(folder), 8, 1, batch_size=10))
    assert len(asked) < 200


def test_nothing_heavy_is_imported(folder, tmp_path):
    code = (
        "import sys; from flow_models.data.images import open_images\n"
        f"open_images({str(folder)!r}, cache_dir={str(tmp_path / 'c')!r})\n"
        "assert not {'tensorflow', 'boto3', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_folders_that_training_lacks_are_near_anomalies(folder, tmp_path):
    from flow_models.applications.pictures import sets
    from flow_models.applications.settings import Pictures
    from flow_models.training.settings import FitSettings

    write(folder, "val/beachball/a.png", picture(66))
    write(folder, "train/cat/bad.png", b"x")
    pictures = Pictures(train_uri=str(folder), flip=None, cache_dir=str(tmp_path / "c"))
    known = sets.open_known(pictures, FitSettings())
    with pytest.warns(FlowModelsWarning, match="left out: 1; the first: .*bad.png: not a"):
        sets.tell_skipped(known.skipped)
    assert "unreadable," in sets.skipped_csv(known.skipped)
    images, labels, files = sets.other_classes(pictures, known)
    assert files == [str(folder / "val/beachball/a.png")]
    for image, name in zip(known.examples, known.example_names):
        assert numbers_of(image[None]) == [int(os.path.basename(name)[:3])], (
            "names go with pictures"
        )
    held = [int(os.path.basename(name)[:3]) for name in known.held_out_names]
    assert held == numbers_of(known.held_out[0])
    assert known.classes == ("cat", "dog") and labels == ["beachball"]
    assert numbers_of(images) == [66]
