"""Pictures in a real S3 store on loopback: long listings, lost objects, wrong keys, no network,
broken connections."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import aws_environment, environment, free_ports, s3, s3_server  # noqa: F401
from test_images_files import encoded, numbers_of, picture

from flow_models.core import storage
from flow_models.core.errors import TransientError, UserError
from flow_models.data.images import Skipped, open_images, read_images
from flow_models.data.images import export as image_export
from flow_models.data.images import listing as image_listing
from flow_models.data.images import reading as image_reading
from flow_models.data.images.reading import Rule

MANY = 1_205  # more than one page of 1,000


@pytest.fixture(scope="module")
def bucket(s3):
    """s3://pictures with many/train/{a,b}: more than 1,000 objects, many/val/a: 3, and what must
    not be found."""
    client = s3.client()
    client.create_bucket(Bucket="pictures")
    names = [f"many/train/{'ab'[n % 2]}/{n:05d}.{'PNG' if n % 3 else 'png'}" for n in range(MANY)]
    names += [f"many/val/a/{n:05d}.png" for n in range(MANY, MANY + 3)]
    contents = [encoded(picture(n)) for n in range(len(names))]
    names += [
        "many/train2/a/x.png",
        "many/train/a/.hidden.png",
        "many/train/b/",
        "many/train/a/notes.txt",
    ]
    contents += [encoded(picture(0)), encoded(picture(0)), b"", b"x"]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda name, body: client.put_object(Bucket="pictures", Key=name, Body=body),
                names,
                contents,
            )
        )
    return "s3://pictures"


@pytest.fixture
def few(bucket, s3, request):
    """A prefix of its own with 20 pictures and its client."""
    prefix, client = f"few-{request.node.name[:40]}", s3.client()
    for number in range(20):
        client.put_object(
            Bucket="pictures", Key=f"{prefix}/c/{number:02d}.png", Body=encoded(picture(number))
        )
    return f"{bucket}/{prefix}", client, prefix


def opened(uri, tmp_path, **settings):
    return open_images(
        uri, **{"cache_dir": str(tmp_path / "cache"), "size": 8, "channels": 1, **settings}
    )


def test_more_than_a_page(bucket, tmp_path, monkeypatch):
    data = opened(f"{bucket}/many", tmp_path)
    assert sorted(numbers_of(data.train, MANY + 3)) == list(range(MANY)) and data.classes == (
        "a",
        "b",
    )
    assert [n % 2 for n in numbers_of(data.train, MANY)] == list(data.example_labels)
    assert sorted(numbers_of(data.validation, MANY + 3)) == [MANY, MANY + 1, MANY + 2]
    assert data.skipped.counts == {"hidden": 1, "other": 1}
    monkeypatch.setattr(image_reading.storage, "read_bytes", None)  # all comes from the cache now
    np.testing.assert_array_equal(opened(f"{bucket}/many/", tmp_path).train, data.train)


def test_the_listing_is_lazy(bucket, monkeypatch):
    """The first page is used before the second is asked for."""
    pages, real = [], storage.client().__class__._make_api_call

    def call(self, operation, parameters):
        pages.append(operation)
        return real(self, operation, parameters)

    monkeypatch.setattr(storage.client().__class__, "_make_api_call", call)
    found = storage.list_files(f"{bucket}/many/train")
    for _ in range(500):
        next(found)
    assert pages == ["ListObjectsV2"]
    assert 500 + sum(1 for _ in found) == MANY + 2 and pages == ["ListObjectsV2"] * 2


def test_only_the_classes_asked_for_are_listed(bucket, tmp_path):
    log = Skipped()
    files = image_listing.list_images(f"{bucket}/many/train", log, ["b"])
    assert len(files) == MANY // 2 and files.classes == ("b",) and str(log) == "nothing"
    with pytest.raises(
        UserError, match="no class in s3://pictures/many/train/ 'c'; there are a, b"
    ):
        opened(f"{bucket}/many", tmp_path, classes=["c"])
    assert storage.subfolders(f"{bucket}/many") == ["train", "train2", "val"]


def test_missing_places(bucket, tmp_path, monkeypatch):
    for uri, message in (
        ("s3://no-such-bucket/x", "no such bucket: check its name"),
        (f"{bucket}/nothing", "nothing lies below this prefix"),
        ("s3:/pictures", "written s3://bucket/key"),
    ):
        with pytest.raises(UserError, match=message):
            opened(uri, tmp_path)
    monkeypatch.setattr(
        image_reading.storage, "read_bytes", None
    )  # it is told before anything is read
    with pytest.raises(UserError, match="s3://pictures/nothing.*no class"):
        open_images(f"{bucket}/many", f"{bucket}/nothing", size=8, channels=1, cache_dir=None)


def test_wrong_keys(bucket, s3, tmp_path):
    with aws_environment(s3.endpoint, s3.access_key, "wrong"):
        with pytest.raises(UserError, match="the secret key is wrong"):
            opened(f"{bucket}/many", tmp_path)
    with aws_environment(s3.endpoint, None, None):
        with pytest.raises(UserError, match="no usable credentials"):
            opened(f"{bucket}/many", tmp_path)


def test_no_network(bucket, tmp_path):
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    with environment(AWS_ENDPOINT_URL=nowhere, AWS_MAX_ATTEMPTS="2"):
        start = time.monotonic()
        with pytest.raises(TransientError, match="no connection to the store"):
            opened(f"{bucket}/many", tmp_path)
        assert time.monotonic() - start < 20


def test_a_network_lost_while_reading_ends_the_run_and_loses_nothing(
    few, s3, tmp_path, monkeypatch
):
    """Not a matter of one picture: the run ends, whatever --max-bad is. What had been read is not
    read again."""
    uri, _, _ = few
    real, asked = storage.read_bytes, []
    monkeypatch.setattr("flow_models.data.images.store._SHARD_ROWS", 2)
    monkeypatch.setattr("flow_models.data.images.store._S3_READERS", 1)

    def read(each):
        asked.append(each)
        with (
            environment(AWS_ENDPOINT_URL="http://127.0.0.1:9") if len(asked) > 14 else environment()
        ):
            return real(each)

    monkeypatch.setattr(image_reading.storage, "read_bytes", read)
    with environment(AWS_MAX_ATTEMPTS="1"):
        with pytest.raises(UserError, match="no connection to the store"):
            opened(uri, tmp_path, max_bad=1000)
    asked.clear()
    monkeypatch.setattr(
        image_reading.storage, "read_bytes", lambda each: asked.append(each) or real(each)
    )
    data = opened(uri, tmp_path)
    assert len(data.train) == 18 and 0 < len(asked) < 18


def test_an_object_deleted_between_listing_and_reading(few, tmp_path, monkeypatch):
    uri, client, prefix = few
    real = image_listing.list_images

    def list_then_delete(*arguments):
        files = real(*arguments)
        client.delete_object(Bucket="pictures", Key=f"{prefix}/c/07.png")
        return files

    monkeypatch.setattr("flow_models.data.images.opening.list_images", list_then_delete)
    data = opened(uri, tmp_path)
    seen = numbers_of(data.train) + numbers_of(data.validation)
    assert sorted(seen) == [n for n in range(20) if n != 7]
    reason = "no such object in this bucket: check the name, also its upper and lower case"
    assert data.skipped.examples == [("unreadable", f"{uri}/c/07.png", reason)]


def test_a_truncated_jpeg_is_left_out(few, tmp_path):
    uri, client, prefix = few
    whole = encoded(picture(0, 64, 64, 3), "JPEG")
    client.put_object(Bucket="pictures", Key=f"{prefix}/c/cut.jpg", Body=whole[: len(whole) // 2])
    data = opened(uri, tmp_path)
    assert data.rows + len(data.validation) == 20 and "truncated" in data.skipped.examples[0][2]
    with pytest.raises(
        UserError, match="1 unreadable pictures are more than --max-bad 0; .*cut.jpg: broken"
    ):
        opened(uri, tmp_path, max_bad=0)


def test_a_new_object_under_an_old_name_is_read(few, tmp_path):
    uri, client, prefix = few
    opened(uri, tmp_path)
    client.put_object(Bucket="pictures", Key=f"{prefix}/c/03.png", Body=encoded(picture(33)))
    data = opened(uri, tmp_path)
    seen = numbers_of(np.concatenate([data.train, data.validation]))
    assert 33 in seen and 3 not in seen


def test_a_broken_stream_is_started_again(few, s3, tmp_path):
    """A relay that cuts the answers for five pictures short: all pictures arrive all the same."""
    uri, _, _ = few
    with _cutting_relay(int(s3.endpoint.rpartition(":")[2])) as (port, cut):
        with environment(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}"):
            images = np.concatenate([batch for _, batch in read_images(uri, 8, 1)])
    assert numbers_of(images) == list(range(20)) and cut


def test_scoring_from_s3(few):
    uri, _, _ = few
    names, images = next(read_images(uri, 8, 1, batch_size=5))
    assert names == [f"{uri}/c/{n:02d}.png" for n in range(5)] and numbers_of(images) == list(
        range(5)
    )
    assert next(read_images(f"{uri}/c/04.png", 8, 1))[0] == [f"{uri}/c/04.png"]
    with pytest.raises(UserError, match="no such object"):
        next(read_images(f"{uri}/c/99.png", 8, 1))


def test_a_set_is_written_to_s3(bucket, tmp_path, capsys):
    assert image_export.main(["faces", f"{bucket}/faces"]) == 0
    data = opened(f"{bucket}/faces", tmp_path, size=None)
    assert data.shape == (25, 25, 1) and (
        len(data.train),
        len(data.validation),
        len(data.test),
    ) == (80, 10, 10)
    assert (
        image_export.main(["faces", f"{bucket}/faces"]) == 0
        and "already" in capsys.readouterr().out
    )
    assert image_export.main(["non_faces", f"{bucket}/faces"]) == 2


class _cutting_relay:
    """A port that passes bytes to and fro and closes each third picture's answer too early, five
    times."""

    def __init__(self, target: int):
        self._target, self._listener, self.cut = target, socket.create_server(("127.0.0.1", 0)), []
        self._seen = 0

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self._listener.getsockname()[1], self.cut

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._requests, args=(near, far), daemon=True).start()
            threading.Thread(target=self._answers, args=(near, far), daemon=True).start()

    def _requests(self, near, far):
        while data := _received(near):
            far.sendall(data)

    def _answers(self, near, far):
        while data := _received(far):
            if b"image" in data or b"PNG" in data:
                self._seen += 1
                if self._seen % 3 == 0 and len(self.cut) < 5:
                    self.cut.append(self._seen)
                    near.sendall(
                        data[: data.index(b"\r\n\r\n") + 24] if b"\r\n\r\n" in data else data[:20]
                    )
                    break
            near.sendall(data)
        for each in (near, far):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _received(connection) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def test_one_object_is_decoded(few):
    uri, _, _ = few
    np.testing.assert_array_equal(image_reading.read(f"{uri}/c/11.png", Rule(8, 8, 1)), picture(11))
