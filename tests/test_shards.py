"""Shards of pictures: made in parts, read by training, the same for any number of workers."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import workers
from faulty_store import faulty
from servers import environment, s3  # noqa: F401
from test_images_files import encoded, numbers_of, picture
from test_s3_faults import hasty  # noqa: F401

import flow_models as fm
from flow_models.__main__ import main
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.share import Share
from flow_models.data.images import open_images, preparing
from flow_models.data.images.layout import wanted
from flow_models.data.shards import ShardPasses, files, folder, order

COUNT, PARTS = 60, 3


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(preparing, "SHARD_BYTES", 6 * 8 * 8)


def pictures(root: str, count: int = COUNT) -> None:
    for number in range(count):
        name = f"{'ab'[number % 2]}/{number:03d}.png"
        storage.write_bytes(storage.join(root, name), encoded(picture(number)))
    storage.write_bytes(storage.join(root, "a/broken.png"), b"no picture")


def prepare(source: str, dest: str, *more: str, parts=range(PARTS), n: int = PARTS) -> None:
    for part in parts:
        main(["prepare", source, dest, "--part", f"{part}/{n}", *more])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("pictures"))
    pictures(root)
    return root


@pytest.fixture
def shards(source, tmp_path):
    prepare(source, str(tmp_path / "shards"))
    return str(tmp_path / "shards")


def everything(data) -> list[int]:
    return sorted(numbers_of(np.concatenate([data.examples, data.validation]), COUNT))


@pytest.mark.parametrize("place", ["disk", "S3"])
def test_pictures_of_all_parts_are_there_once(source, tmp_path, s3, place):
    if place == "S3":
        s3.client().create_bucket(Bucket="shards")
        pictures("s3://shards/photos")
    root = str(tmp_path / "out") if place == "disk" else "s3://shards/out"
    prepare(source if place == "disk" else "s3://shards/photos", root)
    data = open_images(root)
    assert everything(data) == list(range(COUNT)) and data.classes == ("a", "b")
    numbers = numbers_of(data.examples, COUNT)
    assert [n % 2 for n in numbers] == list(data.example_labels)
    assert [int(name[-7:-4]) for name in data.example_names] == numbers
    assert data.skipped.counts == {"unreadable": 1}
    assert "broken.png" in data.skipped.examples[0][1]


def test_the_number_of_parts_changes_no_pixel(source, tmp_path, shards):
    prepare(source, str(tmp_path / "whole"), parts=[0], n=1)
    whole, parted = open_images(str(tmp_path / "whole")), open_images(shards)
    of = lambda data: sorted(numbers_of(data.validation, COUNT))
    assert of(whole) == of(parted) and len(of(whole)) > 1
    assert everything(whole) == everything(parted) == list(range(COUNT))


def test_nothing_is_done_again_and_a_lost_shard_is_made_again(source, shards, monkeypatch, capsys):
    read = []
    real = preparing.read
    monkeypatch.setattr(preparing, "read", lambda uri, rule: read.append(uri) or real(uri, rule))
    prepare(source, shards)
    assert not read and capsys.readouterr().out.count("is there already") == PARTS
    lost = [uri for uri in storage.list_prefix(f"{shards}/shards") if "train-00001" in uri][1]
    before = storage.read_bytes(lost)
    os.unlink(lost)
    prepare(source, shards)
    assert storage.read_bytes(lost) == before and 0 < len(read) <= 6


def test_a_shard_that_no_file_names_does_not_count(source, tmp_path):
    dest = str(tmp_path / "shards")
    half = folder.place(dest, Share(0, PARTS), "train", 0)
    storage.write_bytes(half, b"half a shard")
    prepare(source, dest)
    assert everything(open_images(dest)) == list(range(COUNT))


def test_pictures_that_come_later_change_no_shard(tmp_path):
    root, dest = str(tmp_path / "photos"), str(tmp_path / "shards")
    pictures(root, 30)
    prepare(root, dest, parts=[0])
    part = f"{dest}/parts-begun/00000-of-00003.json"
    state = json.loads(storage.read_bytes(part))
    gone = sorted(state["shards"])[-1]
    del state["shards"][gone]
    storage.write_bytes(part, json.dumps(state).encode())
    storage.delete(f"{dest}/parts-done/00000-of-00003.json")
    storage.write_bytes(f"{root}/a/late.png", encoded(picture(65)))
    prepare(root, dest)
    assert 65 not in everything(open_images(dest)) or Share(0, PARTS).has("a/late.png") is False


def streamed(dest, batch=8, seed=0, labelled=False):
    """Batches of shards that are too many for the memory allowed."""
    return open_images(
        dest, memory_limit_mb=1e-3, batch_size=batch, seed=seed, labelled=labelled
    ).train


def batches(dataset, n: int) -> list:
    return [each.numpy() for each in dataset.take(n)]


def test_a_pass_has_each_picture_once_and_goes_on_anywhere(shards):
    stream = streamed(shards)
    rows = open_images(shards).rows
    found = batches(stream, 2 * (rows // 8))
    for number in range(2):
        seen = numbers_of(np.concatenate(found[number * (rows // 8) :][: rows // 8]), COUNT)
        assert len(set(seen)) == len(seen) == rows // 8 * 8
    for start in (1, 5, rows // 8 + 2):
        for left, right in zip(found[start:], batches(stream.skip(start), 3)):
            np.testing.assert_array_equal(left, right)
    assert not all(map(np.array_equal, found, batches(streamed(shards, seed=1), len(found))))


def test_labels_come_with_their_pictures(shards):
    for batch in streamed(shards, labelled=True).take(4):
        labels = batch["y"].numpy().argmax(1)
        assert [n % 2 for n in numbers_of(batch["x"].numpy(), COUNT)] == list(labels)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_read_their_rows_of_the_same_batches(shards, workers):
    whole, height = streamed(shards), 8 // workers
    for step, batch in enumerate(batches(whole, 12)):
        mine = [whole.skip(step).share(w, workers).take(1) for w in range(workers)]
        rows = [next(iter(one)).numpy()[w * height :][:height] for w, one in enumerate(mine)]
        np.testing.assert_array_equal(np.concatenate(rows), batch)


def test_a_worker_reads_shards_of_its_own():
    """Of 1,600 shards in 16 lanes a worker of four opens a quarter in a pass, and at most those
    that another one reads the other half of."""
    counts, opened = np.full(1600, 10), []
    for worker in range(4):
        asked: set[int] = set()
        passes = ShardPasses(counts, 64, 0, 400)
        for step in range(passes._per_pass):
            numbers = passes.numbers(step, slice(16 * worker, 16 * (worker + 1)))
            asked |= set(numbers // 10)
        opened.append(asked)
    assert all(len(each) <= 404 for each in opened)
    assert len(set.union(*opened)) == 1600 and sum(map(len, opened)) <= 1616


@pytest.mark.parametrize("batch, counts", [(33, [5, 0, 70, 1]), (1, [3]), (48, [16] * 9)])
def test_any_sizes_of_shards_and_batches(batch, counts):
    passes, total = ShardPasses(np.array(counts), batch, 3, 20), sum(counts)
    seen = np.concatenate([passes.numbers(step) for step in range(total // batch)])
    assert len(set(seen)) == len(seen) == total // batch * batch and max(seen) < total
    again = ShardPasses(np.array(counts), batch, 3, 20)
    for step in reversed(range(total // batch)):
        np.testing.assert_array_equal(again.numbers(step), seen[step * batch :][:batch])
    with pytest.raises(UserError, match="fewer than one batch"):
        ShardPasses(np.array(counts), total + 1, 0, 20)


def test_few_shards_are_in_memory_whatever_their_number():
    """Passes keep a number a shard, and the rows of one window a lane."""
    passes = ShardPasses(np.full(100_000, 500), 64, 0, 1600)
    asked = []
    passes._ahead = asked.append
    for step in range(40):
        passes.numbers(step)
    assert sum(len(rows) for _, rows in passes._open.values()) <= 1600
    assert max(map(len, asked)) <= 2 and len(passes._open) == order.LANES


def test_a_reader_keeps_a_bounded_number_of_shards(shards):
    pictures = open_images.__globals__["PreparedPictures"](
        shards, wanted(None, None, "center"), None
    )
    reader = pictures.reader("train")
    reader._kept = 3
    for number in range(len(reader.split.counts)):
        reader.shard(number)
        assert len(reader._shards) <= 3
    rows = np.arange(len(reader.split))
    assert sorted(numbers_of(reader.column(0)(rows), COUNT)) == sorted(
        numbers_of(open_images(shards).examples, COUNT)
    )


def test_mistakes_are_told(source, tmp_path, shards):
    dest = str(tmp_path / "other")
    prepare(source, dest, parts=[0])
    other = str(tmp_path / "grey_and_colour")
    storage.write_bytes(f"{other}/a/1.png", encoded(picture(1)))
    prepare(other, f"{dest}3", parts=[0], n=2)
    storage.write_bytes(f"{other}/a/0.png", encoded(picture(2, channels=3)))
    for call, said in {
        lambda: prepare(other, f"{dest}3", parts=[1], n=2): "files came or went",
        lambda: prepare(other, dest, parts=[1]): "begun with source",
        lambda: open_images(dest): "not finished: .*prepare with --part 1/3, 2/3",
        lambda: prepare(source, f"{source}/shards", parts=[0]): "among the pictures",
        lambda: prepare(source, f"{dest}4", "--classes", "b", "b"): "named twice: b, b",
        lambda: prepare(source, dest, n=4): "give the same N of --part",
        lambda: prepare(
            source, dest, "--size", "4", parts=[0]
        ): "begun with size None, and now size",
        lambda: prepare(
            source, f"{dest}1", "--max-bad", "0"
        ): "1 unreadable pictures are more than",
        lambda: prepare(str(tmp_path / "none"), f"{dest}2", parts=[0]): "a folder is expected",
        lambda: open_images(shards, size=4): "was prepared with 8x8 pixels",
        lambda: open_images(shards, classes=["a"]): "was prepared with the classes a, b",
        lambda: streamed(shards, batch=100): "fewer than one batch of 100",
    }.items():
        with pytest.raises(UserError, match=said):
            call()


def test_damage_is_told(shards):
    """A flipped bit is told, or lies where it changes nothing."""
    first = next(iter(storage.list_prefix(f"{shards}/shards")))
    whole = open_images(shards)
    content = storage.read_bytes(first)
    told = 0
    for place in np.linspace(0, len(content) - 1, 40).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        storage.write_bytes(first, bytes(damaged))
        try:
            found = open_images(shards)
        except UserError as error:
            assert "prepare its part again" in str(error)
            told += 1
        else:
            assert (found.examples == whole.examples).all()
            assert list(found.example_names) == list(whole.example_names)
    assert told > 10
    for damaged in (b"", content[: len(content) // 2]):
        storage.write_bytes(first, damaged)
        with pytest.raises(UserError, match="prepare its part again"):
            open_images(shards)


def test_shards_that_an_earlier_version_wrote_are_read(shards):
    """Those that do not say where their pixels lie."""
    whole = open_images(shards)
    for uri in [uri for uri in storage.list_prefix(f"{shards}/shards") if "train" in uri]:
        table = pq.read_table(uri).replace_schema_metadata()
        pq.write_table(table, uri, compression="none", write_page_checksum=True)
    found = open_images(shards)
    np.testing.assert_array_equal(found.examples, whole.examples)
    assert list(found.example_names) == list(whole.example_names)


def test_pixels_lie_in_a_shard_as_any_reader_finds_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (500, 6000), np.uint8)
    image = pa.Array.from_buffers(pa.binary(6000), 500, [None, pa.py_buffer(pixels)])
    table = pa.table({"class": [b"a", b"b"] * 250, "image": image})
    files.write(f"{tmp_path}/1.parquet", table.slice(3, 450), ("image",))  # a part of its arrays
    found = files.read(f"{tmp_path}/1.parquet", 450, ["image", "class"])
    assert found.equals(table.slice(3, 450).select(["image", "class"]))
    assert found.equals(pq.read_table(f"{tmp_path}/1.parquet").select(["image", "class"]))


def test_faults_of_the_store_that_pass(source, s3, hasty):
    """Twenty, of all kinds, in listing, reading and writing, and then in a stream of batches."""
    s3.client().create_bucket(Bucket="faults")
    pictures("s3://faults/photos")
    kinds: list[str] = []
    asked: list[str] = []

    def plan(method, path):
        asked.append(path)
        return kinds.pop() if kinds and len(asked) % 4 == 0 else None

    with faulty(s3.endpoint, plan) as relay, environment(AWS_ENDPOINT_URL=relay.address):
        kinds[:] = ["InternalError", "SlowDown", "RequestTimeout", "drop", "cut"] * 4
        prepare("s3://faults/photos", "s3://faults/out")
        assert not kinds and everything(open_images("s3://faults/out")) == list(range(COUNT))
        kinds[:] = ["InternalError", "RequestTimeout", "drop", "cut"] * 5
        found = batches(streamed("s3://faults/out"), 12)
        for _ in range(20 * bool(kinds)):  # opened again until all faults have come
            streamed("s3://faults/out")
        assert not kinds and len(relay.planted) == 40
    for left, right in zip(found, batches(streamed("s3://faults/out"), 12)):
        np.testing.assert_array_equal(left, right)


def test_a_fault_that_stays_ends_with_75_and_the_same_command_goes_on(
    source, s3, hasty, monkeypatch
):
    s3.client().create_bucket(Bucket="stays")
    written: list[str] = []

    def plan(method, path):
        written.extend([path] * (method == "PUT" and "/shards/" in path))
        return "InternalError" if len(written) > 3 else None

    with faulty(s3.endpoint, plan) as relay, environment(AWS_ENDPOINT_URL=relay.address):
        with pytest.raises(fm.core.errors.TransientError):
            prepare(source, "s3://stays/out", parts=[0])
    there = storage.names("s3://stays/out/shards/00000-of-00003")
    assert len(there) == 3
    monkeypatch.setattr(files, "write", _refusing(files.write, there))
    prepare(source, "s3://stays/out")
    assert everything(open_images("s3://stays/out")) == list(range(COUNT))


def _refusing(write, names):
    def checked(uri, *rest):
        assert "00000-of-00003" not in uri or uri.rpartition("/")[2] not in names, "made again"
        write(uri, *rest)

    return checked


PROGRAM = """
from flow_models.__main__ import main
from flow_models.applications.inverse import simulating
from flow_models.data.images import preparing
from flow_models.data.tables import preparing as tables
from flow_models.runs.program import guarded
import sys
preparing.SHARD_BYTES, tables.SHARD_BYTES, simulating.MOST = 384, 6000, 40
guarded(lambda: print("begun", flush=True) or main(sys.argv[1:]))
"""


def ended(command: list[str], seconds: float, sent: signal.Signals) -> bool:
    """Whether a program was killed after so many seconds; it may have ended before."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(sent)
    _, error = process.communicate()
    expected = {0, 75 if sent == signal.SIGTERM else -sent}
    assert process.returncode in expected, (process.returncode, error)
    return process.returncode != 0


def kill_twenty_times(command: list[str], folder: str) -> None:
    """Kills both parts of a command at random; what is done too early is begun anew."""
    rng, kills, starts = np.random.default_rng(0), 0, 0
    while kills < 20:
        sent = signal.SIGTERM if starts % 3 else signal.SIGKILL
        part = ["--part", f"{starts % 2}/2"]
        kills += ended([*command, folder, *part], rng.uniform(0.2, 1.5), sent)
        starts += 1
        if kills < 20 and storage.exists(f"{folder}/shards.json"):
            storage.delete(f"{folder}/shards.json")
            for name in storage.names(f"{folder}/parts-done"):
                storage.delete(f"{folder}/parts-done/{name}")
                storage.delete(f"{folder}/parts-begun/{name}")


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, s3):
    s3.client().create_bucket(Bucket="killed")
    source = str(tmp_path / "photos")
    pictures(source, 600)
    kill_twenty_times(["prepare", source], "s3://killed/out")
    prepare(source, "s3://killed/out", parts=[0, 1], n=2)
    prepare(source, str(tmp_path / "whole"), parts=[0, 1], n=2)
    same = lambda root: {
        storage.below(uri, root): storage.read_bytes(uri) for uri in storage.list_prefix(root)
    }
    assert same("s3://killed/out") == same(str(tmp_path / "whole"))


TRAINS = """
import dataclasses, json, sys
from flow_models.runs.program import join_workers
folder, strategy, place = sys.argv[1:]
join_workers(strategy)
import flow_models as fm
from flow_models.data.images import open_images
data = open_images(folder, memory_limit_mb=1e-3, batch_size=16, progress=False)
codec = fm.Pixels(8, 8, 1, multiple=4)
flow = fm.glow_image(codec.padded_shape, levels=1, depth=1, hidden=(8,))
model = fm.Model(flow, codecs={"x": codec}, jit=False)
settings = fm.FitSettings(steps=60, batch_size=16, eval_every_steps=15, strategy=strategy)
settings = dataclasses.replace(settings, jit=False, checkpoint_seconds=0)
print("opened", flush=True)
found = fm.fit(
    model, data.train, data.validation, settings, folder=place, resume=True, progress=False
)
print(json.dumps(found.history))
"""


def trained(
    folder: str, place: str, workers_number: int, program: str = TRAINS
) -> list[dict[str, list[float]]]:
    """The histories of workers that train together."""
    strategy = "multiworker" if workers_number > 1 else "single"
    nodes = workers.by_tf_config(workers_number) if workers_number > 1 else [{}]
    processes = workers.start(["-c", program, folder, strategy, place], nodes)
    ended = workers.finish(processes, 500)
    assert [status for status, *_ in ended] == [0] * workers_number, ended
    return [json.loads(said.splitlines()[-1]) for _, said, _ in ended]


def assert_alike(one: dict, other: dict, rtol: float) -> None:
    assert one["step"] == other["step"] and len(one["step"]) == 4
    for name in set(one) - {"seconds"}:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol)


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory):
    """Shards, and the history of one process that trains from them."""
    place = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "SHARD_BYTES", 6 * 8 * 8)
        prepare(source, str(place / "shards"))
    return str(place / "shards"), trained(str(place / "shards"), str(place / "run"), 1)[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [2, 4])
def test_workers_have_the_curve_of_one(alone, tmp_path, number):
    for found in trained(alone[0], str(tmp_path), number):
        assert_alike(found, alone[1], 2e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_change_nothing_in_a_training_from_shards(alone, tmp_path):
    command, rng = ["-c", TRAINS, alone[0], "single", str(tmp_path)], np.random.default_rng(0)
    for _ in range(3):
        (process,) = workers.start(command, [{}])
        assert process.stdout.readline() == "opened\n"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(1, 8))
        process.kill()
        process.communicate()
    (killed,) = trained(alone[0], str(tmp_path), 1)
    assert_alike(killed, alone[1], 0)
