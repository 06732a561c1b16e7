"""Faults of S3 that pass, planted in the middle of reading, listing and saving: retried, and
status 75 where they stay."""

import itertools
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from botocore import exceptions as e
from botocore.retries import standard
from faulty_store import faulty
from servers import environment, s3  # noqa: F401

from flow_models.aws_batch import entry
from flow_models.core import archive, storage
from flow_models.core import s3 as objects
from flow_models.core.errors import EX_TEMPFAIL, FlowModelsWarning, TransientError, UserError
from flow_models.core.failures import s3_failures
from flow_models.runs.mirror import Mirror
from flow_models.sweep import results, space

COUNT = 1_003  # more than one page of a listing


@pytest.fixture(scope="module")
def bucket(s3):
    client = s3.client()
    client.create_bucket(Bucket="faults")
    with ThreadPoolExecutor(8) as pool:
        put = lambda n: client.put_object(Bucket="faults", Key=f"many/{n:04d}", Body=b"%04d" % n)
        list(pool.map(put, range(COUNT)))
    return "s3://faults"


@pytest.fixture
def hasty(monkeypatch):
    """Retries without their pauses."""
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0.01)
    monkeypatch.setattr(objects, "_PAUSES", (0.01,) * len(objects._PAUSES))


def times(*kinds):
    """These faults, one a request, then none."""
    left = list(kinds)
    return lambda method, path: left.pop(0) if left else None


def through(relay):
    return environment(AWS_ENDPOINT_URL=relay.address)


def test_twenty_faults_in_reading_listing_and_saving_lose_nothing(bucket, s3, hasty):
    draw = random.Random(0)
    kinds = ["InternalError", "RequestTimeout", "drop", "cut"] * 5
    draw.shuffle(kinds)
    requests = itertools.count()
    plan = lambda method, path: kinds.pop() if kinds and next(requests) % 2 else None
    with faulty(s3.endpoint, plan) as relay, through(relay):
        found = list(storage.list_prefix(f"{bucket}/many"))
        assert [each[-4:] for each in found] == [f"{n:04d}" for n in range(COUNT)]
        for step in range(8):
            archive.write(f"{bucket}/state", "at", {"a": np.arange(step)}, {"step": step})
            header = archive.read_header(f"{bucket}/state", "at", "state")
            there = archive.read_arrays(f"{bucket}/state", header, "state")
            assert header["step"] == step and len(there["a"]) == step
        assert storage.read_bytes(found[7]) == b"0007"
    assert not kinds and len(relay.planted) == 20


def test_an_overloaded_store_is_asked_again_more_slowly(bucket, s3, hasty):
    with faulty(s3.endpoint, times("SlowDown")) as relay, through(relay):
        assert storage.read_bytes(f"{bucket}/many/0003") == b"0003"
        config = storage.client().meta.config.retries
    assert relay.planted == ["SlowDown"]
    assert config == {"mode": "adaptive", "total_max_attempts": 9}


@pytest.mark.parametrize("kind", ["InternalError", "ThrottlingException", "drop", "cut"])
def test_a_fault_that_stays_is_transient(bucket, s3, hasty, kind):
    attempts = {"AWS_MAX_ATTEMPTS": "2"} if "Throttling" in kind else {}
    with faulty(s3.endpoint, lambda *_: kind) as relay, through(relay), environment(**attempts):
        with pytest.raises(TransientError) as caught:
            storage.read_bytes(f"{bucket}/many/0001")
    assert len(relay.planted) == (2 if attempts else 9 if kind != "cut" else 8)
    assert "\n" not in str(caught.value)


def test_a_run_goes_on_without_the_store_and_ends_with_75_where_it_needs_it(bucket, s3, hasty):
    down = [True]
    plan = lambda *_: "InternalError" if down[0] else None
    with faulty(s3.endpoint, plan) as relay, through(relay):
        mirror = Mirror(f"{bucket}/mirror")
        (mirror.path / "a.json").write_text("{}")
        with pytest.warns(FlowModelsWarning, match="the store answered InternalError"):
            mirror.send(must=False)
        with pytest.raises(TransientError):
            mirror.send()
        down[0] = False
        mirror.send()
        mirror.close()
        down[0] = True
        ended = program(f"storage.read_bytes('{bucket}/many/0001')", AWS_MAX_ATTEMPTS="2")
    assert storage.names(f"{bucket}/mirror") == {"a.json"}
    assert ended.returncode == EX_TEMPFAIL and ended.stderr.count("\n") == 1
    assert program("storage.read_bytes('s3://nowhere/x')").returncode == 2


def program(text: str, **variables: str) -> subprocess.CompletedProcess:
    code = (
        "from flow_models.core import storage; from flow_models.runs.program import guarded;"
        f" guarded(lambda: {text})"
    )
    with environment(**variables):
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


ROLE, FILE = (
    e.CredentialRetrievalError(provider=provider, error_msg="503")
    for provider in ("container-role", "custom-process")
)


def answered(code: str, status: int) -> e.ClientError:
    about = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return e.ClientError(about, "GetObject")


@pytest.mark.parametrize(
    "error, kind",
    [
        (answered("SlowDown", 503), TransientError),
        (answered("KMS.ThrottlingException", 400), TransientError),
        (answered("", 502), TransientError),
        (answered("", 429), TransientError),
        (answered("NotImplemented", 501), UserError),
        (answered("AccessDenied", 403), UserError),
        (answered("NoSuchBucket", 404), UserError),
        (answered("RequestTimeTooSkewed", 403), UserError),
        (ROLE, TransientError),
        (FILE, UserError),
        (e.EndpointConnectionError(endpoint_url="x"), TransientError),
        (e.ConnectTimeoutError(endpoint_url="x"), TransientError),
        (e.ReadTimeoutError(endpoint_url="x"), TransientError),
        (e.IncompleteReadError(actual_bytes=1, expected_bytes=2), TransientError),
        (e.SSLError(endpoint_url="x", error="certificate"), UserError),
        (e.NoCredentialsError(), UserError),
    ],
)
def test_what_may_pass_and_what_may_not(error, kind):
    with pytest.raises(UserError) as caught, s3_failures("s3://b/x"):
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize("wanted", ["eu-west-1", "us-west-2"])
def test_both_ways_of_naming_a_region(wanted):
    both = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}
    only = {name: value if value == wanted else None for name, value in both.items()}
    with environment(**only):
        assert objects.session().region_name == wanted
    with environment(**both):
        assert objects.session().region_name == "eu-west-1", "as the other SDKs of AWS"


def test_results_of_a_sweep_are_collected_by_one_listing(bucket, s3):
    grid = f"seed={','.join(map(str, range(40)))} depth=3,5"
    told = {"FLOW_MODELS_SWEEP": grid, "FLOW_MODELS_COLLECT": "array"}
    command = ["train_flowmodels1.py", "--output-dir", f"{bucket}/sweep"]
    place, header = entry.sweep_of(command, told)
    settings = space.settings(space.parse(grid))
    for index in range(0, 80, 2):
        run = f"{place}/{space.folder(index, settings[index])}"
        storage.write_bytes(f"{run}/metrics.json", b'{"nll_val": %d}' % index)
        storage.write_bytes(f"{run}/config.yaml", b"")
    asked = []
    with faulty(s3.endpoint, lambda method, path: asked.append(path)) as relay, through(relay):
        entry.collect(place, header)
    assert len(asked) < 40 + 10, "one request for each setting that has ended, and a few besides"
    rows = results.rows(place)
    assert [row["state"] for row in rows] == ["finished", "unfinished"] * 40
    assert [row["nll_val"] for row in rows[::2]] == [str(float(n)) for n in range(0, 80, 2)]
