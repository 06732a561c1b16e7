"""Lists of S3 Inventory, and others, in place of a listing: prepare --listing."""

import gzip
import io
import json
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv, orc
from servers import s3  # noqa: F401
from test_images_files import encoded, picture
from test_shards import COUNT, everything, pictures, prepare, small_shards  # noqa: F401

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import open_images


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("pictures"))
    pictures(root, 12)
    return root


MANIFEST = "s3://listed/lists/manifest.json"
KEYS = [f"photos/{'ab'[n % 2]}/{n:03d} +%41.png" for n in range(COUNT)]
BESIDE = ["photos/a/", "photos/a/notes.txt", "photos/a/.hidden.png", "photos2/a/999.png"]


def inventory(kind: str, bucket: str = "listed") -> None:
    """The lists of two files, as S3 Inventory writes them, with a version and a deleted object."""
    keys = [*KEYS, *BESIDE, "photos/a/old.png", "photos/a/gone.png"]
    latest = [key != "photos/a/old.png" for key in keys]
    deleted = [key == "photos/a/gone.png" for key in keys]
    names = {"Parquet": ("bucket", "key", "is_latest", "is_delete_marker")}
    names["ORC"], names["CSV"] = names["Parquet"], ("Bucket", "Key", "IsLatest", "IsDeleteMarker")
    shown = list(map(quote_plus, keys)) if kind == "CSV" else keys
    columns = ([bucket] * len(keys), shown, latest, deleted)
    table = pa.table(dict(zip(names[kind], columns)))
    ending = {"CSV": "csv.gz"}.get(kind, kind.lower())
    files = []
    for number, part in enumerate((table[:31], table[31:])):
        out = io.BytesIO()
        match kind:
            case "Parquet":
                pq.write_table(part, out)
            case "ORC":
                orc.write_table(part, out)
            case "CSV":
                csv.write_csv(
                    part, out, csv.WriteOptions(include_header=False, quoting_style="all_valid")
                )
                out = io.BytesIO(gzip.compress(out.getvalue()))
        files.append({"key": f"lists/{number}.{ending}"})
        storage.write_bytes(f"s3://listed/lists/{number}.{ending}", out.getvalue())
    about = {"sourceBucket": bucket, "destinationBucket": "arn:aws:s3:::listed", "files": files}
    about |= {"fileFormat": kind, "fileSchema": ", ".join(names[kind])}
    storage.write_bytes(MANIFEST, json.dumps(about).encode())


@pytest.fixture(scope="module")
def listed(s3):
    """Pictures below a prefix, whose listing is forbidden."""
    s3.client().create_bucket(Bucket="listed")
    for number, key in enumerate(KEYS):
        storage.write_bytes(f"s3://listed/{key}", encoded(picture(number)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "list_files", None)
        yield "s3://listed/photos"


@pytest.mark.parametrize("kind", ["Parquet", "ORC", "CSV"])
def test_an_inventory_takes_the_place_of_a_listing(listed, tmp_path, kind):
    inventory(kind)
    prepare(listed, str(tmp_path), "--listing", MANIFEST, parts=[0, 1], n=2)
    data = open_images(str(tmp_path))
    assert everything(data) == list(range(COUNT)) and data.classes == ("a", "b")
    assert not data.skipped.counts["unreadable"]
    with pytest.raises(UserError, match="begun with listing .*manifest.json', and now listing is"):
        prepare(listed, str(tmp_path), "--listing", "other.csv", parts=[0], n=2)


def test_classes_of_an_inventory_and_a_table_of_names(listed, source, tmp_path):
    inventory("Parquet")
    chosen = str(tmp_path / "chosen")
    prepare(listed, chosen, "--listing", MANIFEST, "--classes", "b", parts=[0], n=1)
    assert everything(open_images(chosen)) == list(range(1, COUNT, 2))
    table = tmp_path / "names.csv"
    table.write_text("\n".join(["key", *(f"{'ab'[n % 2]}/{n:03d}.png" for n in range(9))]))
    prepare(source, str(tmp_path / "nine"), "--listing", str(table), parts=[0], n=1)
    assert everything(open_images(str(tmp_path / "nine"))) == list(range(9))


@pytest.mark.parametrize(
    "name, text, line",
    [
        ("list.txt", "key", "a list is manifest.json, or a table: csv, csv.gz, parquet, orc"),
        ("list.csv", "name\nx", "no column 'key' among name"),
        ("list.csv", "key\nx.txt", "no picture here in .*list.csv"),
        ("list.parquet", "key", "this list is damaged"),
        ("list.csv.gz", "key", "this list is damaged"),
        ("manifest.json", "{}", "no manifest of S3 Inventory"),
        ("none.csv", None, "no such file"),
    ],
)
def test_mistakes_in_a_list_are_one_line(source, tmp_path, name, text, line):
    place = tmp_path / name
    if text is not None:
        place.write_text(text)
    with pytest.raises(UserError, match=line) as caught:
        prepare(source, str(tmp_path / "out"), "--listing", str(place), parts=[0], n=1)
    assert "\n" not in str(caught.value)


def test_a_list_of_another_bucket_is_refused(listed, tmp_path):
    inventory("Parquet", "elsewhere")
    with pytest.raises(UserError, match="lists s3://elsewhere, and pictures are asked of s3://lis"):
        prepare(listed, str(tmp_path), "--listing", MANIFEST, parts=[0], n=1)
