"""Files here and in S3: a real S3 store on loopback, real small limits on the disk, one clear line
for each failure."""

import io
import os
import resource
import stat
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from servers import aws_environment, environment, free_ports, s3, s3_server  # noqa: F401

from flow_models.core import storage
from flow_models.core.errors import TransientError, UserError
from flow_models.data.tables import read_table
from flow_models.runs.mirror import Mirror

BUCKET = "flows"
VALUES = np.float32([[1.5, -2], [0.25, 1000], [3, 7]])


@pytest.fixture(scope="module")
def bucket(s3):
    """The name of an empty bucket, as a location."""
    s3.client().create_bucket(Bucket=BUCKET)
    return f"s3://{BUCKET}"


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, VALUES)
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pd.DataFrame(VALUES, columns=["a", "b"]).to_parquet(file)
    return file.getvalue()


def test_nothing_heavy_is_imported_for_local_files(tmp_path):
    code = (
        "import sys; from flow_models.core import storage;"
        f" storage.write_bytes({str(tmp_path / 'x')!r}, b'1')\nassert not {{'boto3', 'botocore',"
        " 'pandas', 'tensorflow'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "uri, message",
    [
        (
            "gs://bucket/x",
            r"gs://bucket/x: a local path or s3://bucket/key is expected; 'gs://' is not supported",
        ),
        ("http://host/x.csv", "'http://' is not supported"),
        ("s3:/bucket/x", "written s3://bucket/key, with two slashes"),
        ("s3:bucket", "with two slashes"),
        ("s3://", "no bucket named"),
        ("s3:///x", "no bucket named"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/folder/", "names no object"),
        ("", "an empty path"),
    ],
)
def test_malformed_locations(uri, message):
    for call in (storage.read_bytes, lambda uri: storage.write_bytes(uri, b"")):
        with pytest.raises(UserError, match=message):
            call(uri)


def test_local_files(tmp_path):
    path = tmp_path / "new" / "x.bin"
    assert not storage.exists(path)
    storage.write_bytes(path, b"first")
    storage.write_bytes(f"file://{path}", b"second")
    assert storage.read_bytes(path) == b"second" == storage.open_read(str(path)).read()
    assert storage.exists(path) and storage.exists(path.parent)
    assert [each.name for each in path.parent.iterdir()] == ["x.bin"]
    umask = os.umask(0o027)
    try:
        storage.write_bytes(path.with_name("y"), b"")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.with_name("y").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    storage.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    """The limit on the size of files is the kernel's own: the write really ends half way."""
    path = tmp_path / "x"
    storage.write_bytes(path, b"precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(
            UserError, match="larger than this disk or user may write; what was here before"
        ):
            storage.write_bytes(path, bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"precious" and os.listdir(tmp_path) == ["x"]


def test_a_full_disk(tmp_path, monkeypatch):
    import errno

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x").write_bytes(b"precious")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="x: the disk is full: free some room"):
        storage.write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"precious" and os.listdir(tmp_path) == ["x"]


def test_local_permissions(tmp_path):
    """A file that only its owner may read; root sees the same as another user."""
    (tmp_path / "x").write_bytes(b"secret")
    (tmp_path / "x").chmod(0)
    tmp_path.chmod(0o555)
    root = os.geteuid() == 0
    parents = [parent for parent in tmp_path.parents if "pytest" in parent.name]
    modes = [parent.stat().st_mode for parent in parents]
    for parent in parents:
        parent.chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match="x: permission denied"):
            storage.read_bytes(tmp_path / "x")
        with pytest.raises(UserError, match="y: permission denied"):
            storage.write_bytes(tmp_path / "y", b"")
    finally:
        if root:
            os.seteuid(0)
        for parent, mode in zip(parents, modes):
            parent.chmod(mode)
        tmp_path.chmod(0o755)
    assert (
        storage.read_bytes(tmp_path / "x") == b"secret"
        if root
        else not os.path.exists(tmp_path / "y")
    )


def test_wrong_local_paths(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for call, message in [
        (lambda: storage.read_bytes(tmp_path), "a file is expected; this is a folder"),
        (lambda: storage.write_bytes(tmp_path, b""), "a file is expected; this is a folder"),
        (
            lambda: storage.write_bytes(tmp_path / "file" / "x", b""),
            "a part of this path is a file",
        ),
        (lambda: storage.check_target(tmp_path / "file" / "x"), "a part of this path is a file"),
        (lambda: storage.check_target(tmp_path), "a file is expected; this is a folder"),
        (
            lambda: storage.read_bytes(tmp_path / "fill"),
            "no such file or folder; did you mean file?",
        ),
        (
            lambda: list(storage.list_prefix(tmp_path / "none")),
            "a folder is expected; there is none",
        ),
        (
            lambda: list(storage.list_prefix(tmp_path / "file")),
            "a folder is expected; this is a file",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            call()


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to("a")
    found = [os.path.relpath(each, tmp_path) for each in storage.list_prefix(tmp_path)]
    assert found == ["a/x.png", "b/x.png"]


NAMES = [
    "train/a/1.png",
    "train/a/2.PNG",
    "train/a-b/3.png",
    "train/a.txt",
    "train/b/4.jpeg",
    "train/.hidden/5.png",
    "train/._6.png",
    "train2/7.png",
    "training.png",
    "train/é ü/8.png",
]
LISTED = [
    "train/a-b/3.png",
    "train/a.txt",
    "train/a/1.png",
    "train/a/2.PNG",
    "train/b/4.jpeg",
    "train/é ü/8.png",
]


def test_listing_is_the_same_here_and_in_s3(tmp_path, bucket):
    for root in (str(tmp_path), f"{bucket}/listing"):
        for name in NAMES:
            storage.write_bytes(storage.join(root, name), name.encode())
        for prefix in ("train", "train/"):
            found = [
                each[len(root) + 1 :] for each in storage.list_prefix(storage.join(root, prefix))
            ]
            assert (sorted(found) if root.startswith("s3:") else found) == LISTED
        images = list(storage.list_prefix(f"{root}/train", suffixes=(".PNG", ".jpeg")))
        assert sorted(each[len(root) + 1 :] for each in images) == [
            name for name in LISTED if not name.endswith("txt")
        ]
        assert storage.read_bytes(max(images)) == "train/é ü/8.png".encode()


def test_listing_past_a_thousand_keys_is_lazy(bucket, s3):
    client = s3.client()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda i: client.put_object(Bucket=BUCKET, Key=f"many/{i:04d}", Body=b""),
                range(1005),
            )
        )
    first = next(storage.list_prefix(f"{bucket}/many"))
    found = list(storage.list_prefix(f"{bucket}/many"))
    assert first == f"{bucket}/many/0000" and len(found) == 1005 == len(set(found))


def test_objects(bucket):
    data = np.random.default_rng(0).bytes(9_000_000)  # more than one part of an upload
    storage.write_bytes(f"{bucket}/big", data)
    with storage.open_read(f"{bucket}/big") as file:
        file.seek(8_999_990)
        assert file.read() == data[-10:]
    storage.write_bytes(f"{bucket}/some/thing.x", b"1")
    assert storage.exists(f"{bucket}/some/thing.x") and storage.exists(f"{bucket}/some")
    assert storage.exists(f"{bucket}/some/") and storage.exists(bucket)
    assert not storage.exists(f"{bucket}/some/thing") and not storage.exists(f"{bucket}/som")


@pytest.mark.parametrize(
    "name, data",
    [("t.csv", b"a,b\n1.5,-2\n.25,1e3\n3,7\n"), ("t.npy", _npy()), ("t.parquet", _parquet())],
)
def test_tables(bucket, name, data):
    storage.write_bytes(f"{bucket}/tables/{name}", data)
    table = read_table(f"{bucket}/tables/{name}")
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.source == f"{bucket}/tables/{name}"


def test_names_and_subfolders_are_the_same_here_and_in_s3(tmp_path, bucket):
    for root in (str(tmp_path), f"{bucket}/below"):
        for name in ("b/1", "a/2", "a/c/3", ".hidden/4", ".5", "z"):
            storage.write_bytes(storage.join(root, "top", name), b"")
        top = storage.join(root, "top")
        assert storage.names(top) == {"a", "b", ".hidden", ".5", "z"}
        assert storage.subfolders(top) == ["a", "b"]
        none = storage.join(root, "none")
        assert storage.names(none) == set() and storage.subfolders(none) == []


def test_a_key_cannot_leave_the_folder(monkeypatch):
    """Other stores than the one of these tests take such keys, so the listing is given here."""
    hostile = ("good/x", "/etc/x", "//x", "../x", "good/../../x")
    contents = [{"Key": f"keys/{key}", "Size": 1, "ETag": "1"} for key in hostile]
    mirror = Mirror("s3://bucket/keys")
    try:
        with monkeypatch.context() as listed:
            listed.setattr("flow_models.core.s3._pages", lambda *_, **__: [{"Contents": contents}])
            read = []
            listed.setattr(
                "flow_models.runs.mirror.storage.read_bytes", lambda uri: read.append(uri) or b"x"
            )
            listed.setattr(Mirror, "names", lambda self: {"good"})
            mirror.fetch(leave_out="checkpoint")
        assert read == ["s3://bucket/keys/good/x"]
        assert [file for file in mirror.path.rglob("*") if file.is_file()] == [
            mirror.path / "good/x"
        ]
    finally:
        mirror.close()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda b: storage.read_bytes("s3://no-such-bucket/x"),
            "s3://no-such-bucket/x: no such bucket",
        ),
        (lambda b: storage.write_bytes("s3://no-such-bucket/x", b"1"), "no such bucket"),
        (lambda b: list(storage.list_prefix("s3://no-such-bucket/x")), "no such bucket"),
        (lambda b: storage.exists("s3://no-such-bucket/x"), "no such bucket"),
        (
            lambda b: storage.read_bytes("s3://Not_Valid!/x"),
            "s3://Not_Valid!/x: not a valid bucket name",
        ),
        (
            lambda b: storage.read_bytes(f"{b}/none"),
            f"s3://{BUCKET}/none: no such object in this bucket",
        ),
        (lambda b: list(storage.list_prefix(f"{b}/none")), "none: nothing lies below this prefix"),
        (lambda b: read_table(f"{b}/none.csv"), "none.csv: no such object"),
    ],
)
def test_wrong_names_in_s3(bucket, call, message):
    with pytest.raises(UserError, match=message) as caught:
        call(bucket)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "access, secret, message",
    [
        ("test-access-key", "do-not-show", "the secret key is wrong for this access key"),
        ("nobody", "do-not-show", "the store does not know this access key"),
        (None, None, "no usable credentials: set AWS_ACCESS_KEY_ID"),
        ("test-access-key", None, "no usable credentials"),
    ],
)
def test_wrong_keys(bucket, s3, access, secret, message):
    with aws_environment(s3.endpoint, access, secret):
        for call in (
            lambda: storage.read_bytes(f"{bucket}/x"),
            lambda: storage.write_bytes(f"{bucket}/x", b"1"),
            lambda: list(storage.list_prefix(bucket)),
        ):
            with pytest.raises(UserError, match=message) as caught:
                call()
            assert "\n" not in str(caught.value) and "do-not-show" not in str(caught.value)
    assert storage.exists(bucket)


def test_dead_and_malformed_endpoints(bucket):
    begin = time.monotonic()
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    with environment(AWS_ENDPOINT_URL=nowhere, AWS_MAX_ATTEMPTS="4"):
        with pytest.raises(
            TransientError,
            match="no connection to the store: .*check the network and AWS_ENDPOINT_URL",
        ):
            storage.read_bytes(f"{bucket}/x")
    assert time.monotonic() - begin < 15
    for endpoint in ("nowhere", "http://"):
        with (
            environment(AWS_ENDPOINT_URL=endpoint),
            pytest.raises(UserError, match="AWS_ENDPOINT_URL|endpoint"),
        ):
            storage.read_bytes(f"{bucket}/x")
    with (
        environment(AWS_PROFILE="nobody"),
        pytest.raises(UserError, match="nobody.*check AWS_PROFILE"),
    ):
        storage.read_bytes(f"{bucket}/x")


def test_one_client_a_process(bucket):
    first = storage.client()
    with ThreadPoolExecutor(4) as pool:
        assert all(each is first for each in pool.map(lambda _: storage.client(), range(8)))
    child = os.fork()
    if child == 0:
        os._exit(int(storage.client() is first))
    assert os.waitpid(child, 0)[1] == 0


def test_servers_keep_to_loopback_and_to_themselves(s3):
    """A second store beside the first: no port shared, none on another address, nothing left
    behind."""
    with environment(AWS_ENDPOINT_URL="http://before"):
        with s3_server() as second:
            assert os.environ["AWS_ENDPOINT_URL"] == second.endpoint and not set(s3.ports) & set(
                second.ports
            )
            second.client().create_bucket(Bucket="second")
            assert "second" not in [each["Name"] for each in s3.client().list_buckets()["Buckets"]]
            lines = subprocess.run(
                ["ss", "-ltnp"], capture_output=True, text=True, check=True
            ).stdout.splitlines()
            mine = [line.split()[3] for line in lines if f"pid={second.pid}," in line]
            assert len(mine) >= 2 and {address.rpartition(":")[0] for address in mine} == {
                "127.0.0.1"
            }
            assert {int(address.rpartition(":")[2]) for address in mine} <= set(second.ports)
        assert os.environ["AWS_ENDPOINT_URL"] == "http://before"
    assert not os.path.exists(f"/proc/{second.pid}")


def test_a_long_listing_is_sorted_in_little_memory(tmp_path):
    count = 30_000
    for number in range(count):
        os.close(os.open(tmp_path / f"{number * 7919 % count:05d}.png", os.O_CREAT))
    (tmp_path / "00004").mkdir()
    (tmp_path / "00004" / "x.png").touch()
    found = storage.list_prefix(str(tmp_path), (".png",))
    tracemalloc.start()
    first = [next(found) for _ in range(6)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    names = [os.path.relpath(each, tmp_path) for each in first]
    assert names == ["00000.png", "00001.png", "00002.png", "00003.png", "00004.png", "00004/x.png"]
    assert sum(1 for _ in found) == count - 5 and peak < 3 * 2**20
