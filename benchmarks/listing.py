"""How long a part of `prepare` takes to list pictures of an inventory of S3, whose lists lie in a
real S3 server. Writes a table of doc/shards.md.

    python benchmarks/listing.py                 # ten million made-up names, some minutes
    python benchmarks/listing.py --names 100000 --no-page
"""

import argparse
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

PAGE, BEGIN, END = ROOT / "doc" / "shards.md", "<!-- bench-listing -->", "<!-- end-listing -->"
PARTS, FILES = 100, 10
SOURCE = "s3://bench/photos"


def written(names: int, kind: str) -> str:
    """The manifest of so many names in the format Parquet or CSV."""
    import gzip

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    from flow_models.core import storage

    files = []
    for file, numbers in enumerate(np.array_split(np.arange(names), FILES)):
        keys = [
            f"photos/class-{n % 100:02d}/picture-{n * 2654435761 % 2**32:010d}.jpg" for n in numbers
        ]
        table = pa.table({"bucket": ["bench"] * len(keys), "key": keys, "size": numbers + 20_000})
        out = io.BytesIO()
        if kind == "Parquet":
            pq.write_table(table, out)
        else:
            csv.write_csv(
                table, out, csv.WriteOptions(include_header=False, quoting_style="all_valid")
            )
            out = io.BytesIO(gzip.compress(out.getvalue(), 1))
        key = f"inventory/{kind}/{file}.{'parquet' if kind == 'Parquet' else 'csv.gz'}"
        storage.write_bytes(f"s3://bench/{key}", out.getvalue())
        files.append({"key": key, "size": len(out.getvalue())})
    manifest = {"sourceBucket": "bench", "destinationBucket": "arn:aws:s3:::bench", "files": files}
    schema = "message s3.inventory {...}" if kind == "Parquet" else "Bucket, Key, Size"
    place = f"s3://bench/inventory/{kind}/manifest.json"
    about = manifest | {"fileFormat": kind, "fileSchema": schema}
    storage.write_bytes(place, json.dumps(about).encode())
    return place


def work(manifest: str) -> None:
    """One process: lists one part."""
    from flow_models.core.inventory import Inventory
    from flow_models.core.share import Share
    from flow_models.data.images.dataset import Skipped
    from flow_models.data.images.listing import list_images

    clock, processor = time.perf_counter(), time.process_time()
    inventory, share = Inventory(manifest, SOURCE), Share(3, PARTS)
    kept = list_images(SOURCE, Skipped(), list(CLASSES), False, share, inventory)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"seconds": time.perf_counter() - clock, "processor": time.process_time() - processor}
    print(json.dumps({"kept": len(kept), **took, "memory": most}))


CLASSES = [f"class-{n:02d}" for n in range(100)]


def measured(names: int, kind: str) -> dict:
    command = [sys.executable, __file__, "--work", written(names, kind)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {"kind": kind, **json.loads(said)}


def page(names: int, found: list[dict]) -> str:
    from mapping import machine

    lines = [
        f"`python benchmarks/listing.py{' ' + ' '.join(sys.argv[1:]) if sys.argv[1:] else ''}`,"
        f" {machine()}, load {os.getloadavg()[0]:.1f}: {names:,} made-up names in {FILES} files of"
        f" an inventory in a real S3 server, listed by one of {PARTS} parts.",
        "",
        "| inventory | seconds | of the processor | pictures of the part | peak memory, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['kind']} | {each['seconds']:.0f} | {each['processor']:.0f} | {each['kept']:,} |"
        f" {each['memory']:,.0f} |"
        for each in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, default=10_000_000)
    parser.add_argument("--no-page", action="store_true", help="print the table alone")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return
    from servers import s3_server

    from flow_models.core import storage

    with s3_server() as server:
        server.client().create_bucket(Bucket="bench")
        for name in CLASSES:
            storage.write_bytes(f"{SOURCE}/{name}/.keep", b"")
        text = page(given.names, [measured(given.names, kind) for kind in ("Parquet", "CSV")])
    print(text)
    if not given.no_page:
        block = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
        PAGE.write_text(block.sub(lambda _: f"{BEGIN}\n{text}\n{END}", PAGE.read_text()))


if __name__ == "__main__":
    main()
