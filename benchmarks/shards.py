"""Pictures, pairs and rows of tables a second out of shards, on disk and in a real S3 server,
beside training from a folder of pictures; and memory against the number of shards. Writes a table
of doc/shards.md.

    python benchmarks/shards.py                  # a quarter of an hour on two cores
    python benchmarks/shards.py --images 500 --many 2000 --no-page

Rates are by the clock and, where others run beside it, by the processor's time of this process.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

PAGE, BEGIN, END = ROOT / "doc" / "shards.md", "<!-- bench-shards -->", "<!-- end -->"
BATCH, SIZE, FEW = 64, 64, 64
PAIRS = 512  # a batch of pairs and rows
READ, IN_MEMORY = (
    100,
    20_000,
)  # shards, more than are kept; pictures of an array that no cache holds
Row = tuple[str, str, tuple[float, float]]  # what is done, from where, and its rates
SIMULATOR = """
prior = {"a": (0, 1), "b": (0, 1), "c": (0, 1)}


def simulate(x, rng):
    return x.repeat(3) + rng.normal(0, 0.1, 9)
"""


def rates(count: int, function) -> tuple[float, float]:
    """So many things a second by the clock, and a second of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return count / (time.perf_counter() - clock), count / (time.process_time() - processor)


def prepare(source: str, folder: str) -> None:
    from flow_models.core.share import WHOLE
    from flow_models.data.images.layout import wanted
    from flow_models.data.images.preparing import Preparation
    from flow_models.data.images.preparing import prepare as prepared

    prepared(Preparation(source, wanted(SIZE, 3, "center")), folder, WHOLE, progress=False)


def opened(uri: str, cache: str | None, memory: float = 1e-2):
    """Pictures that are streamed, or with enough memory are in it."""
    from flow_models.data.images import open_images

    settings = {"size": SIZE, "channels": 3, "cache_dir": cache, "batch_size": BATCH}
    return open_images(uri, memory_limit_mb=memory, progress=False, **settings)


def streamed(stream, batches: int = 300, size: int = BATCH) -> tuple[float, float]:
    """The best of three rates, one after the other."""
    found = iter(stream)
    next(found)
    each = [rates(batches * size, lambda: [next(found) for _ in range(batches)]) for _ in range(3)]
    return max(a for a, _ in each), max(b for _, b in each)


def of_place(images: int, place: str, root: str, cache: str) -> list[Row]:
    shards = f"{root}-shards"
    made = rates(images, lambda: prepare(root, shards))
    first = rates(images, lambda: opened(root, cache))
    loaded = rates(images, lambda: opened(shards, None, 1e4))
    return [
        ("`prepare`", place, made),
        ("from a folder, first time", place, first),
        ("from a folder, stream out of the cache", place, streamed(opened(root, cache).train)),
        ("from shards, into memory", place, loaded),
        ("from shards, stream", place, streamed(opened(shards, None).train)),
    ]


def places(disk: str, s3: str, alone: bool) -> list[tuple[str, str]]:
    return [("disk", disk), *([] if alone else [("S3", s3)])]


def of_pictures(images: int, folder: str, alone: bool) -> list[Row]:
    import numpy as np
    from bench_data import photographs, write

    from flow_models.data.images.stream import stream

    rows, files = [], photographs(images)
    for place, root in places(f"{folder}/photos", "s3://bench/photos", alone):
        write(files, root)
        rows += of_place(images, place, root, f"{folder}/cache-{place}")
    many = many_shards(folder, f"{folder}/photos-shards", READ, shutil.copyfile)
    each = streamed(opened(many, None, 64).train)
    shutil.rmtree(many)
    pictures = opened(f"{folder}/photos-shards", None, 1e4).examples
    pictures = np.resize(pictures, (IN_MEMORY, *pictures.shape[1:]))
    gather = lambda numbers: pictures[numbers]
    fed = stream(gather, np.array([len(pictures)]), pictures.shape[1:], BATCH)
    rows.append((f"from {READ} shards, stream that reads each", "disk", each))
    return [*rows, ("stream out of an array in memory", "memory", streamed(fed))]


def of_pairs(pairs: int, folder: str, alone: bool) -> list[Row]:
    from flow_models.applications.inverse import simulating
    from flow_models.core.share import WHOLE
    from flow_models.simulators.ahead import Ahead
    from flow_models.simulators.user_problem import UserProblem

    path = Path(folder) / "bench_problem.py"
    path.write_text(SIMULATOR)
    problem, rows = UserProblem.read(f"{path}:simulate"), []
    x = problem.prior(pairs, (0, 0))
    ahead = Ahead(problem, f"{folder}/ahead", (0, 0))
    rows.append(("pairs by `infer`", "disk", rates(pairs, lambda: ahead.pairs(x))))
    for place, root in places(f"{folder}/pairs", "s3://bench/pairs", alone):
        made = rates(pairs, lambda root=root: simulating.simulate(problem, root, pairs, WHOLE))
        read = rates(pairs, lambda root=root: simulating.load(problem, root, 100))
        fed = streamed(pairs_of(root).train, 100, PAIRS)
        rows += [("pairs by `simulate`", place, made), ("pairs read by `infer`", place, read)]
        rows += [("pairs, stream", place, fed)]
    return rows


def pairs_of(root: str):
    """Pairs that are streamed."""
    from flow_models.applications import own_problem, own_shards
    from flow_models.training.settings import FitSettings

    x, y, *names = own_shards.opened(root, 0.1)
    own_shards.refuse_copies = lambda *_: None  # links to one shard are copies
    return own_problem.prepare(x, y, *names, settings=FitSettings(batch_size=PAIRS, jit=False))


def of_tables(rows: int, folder: str) -> list[Row]:
    import numpy as np
    import pandas as pd

    from flow_models.applications import own_table
    from flow_models.core.share import WHOLE
    from flow_models.data.tables.preparing import Preparation
    from flow_models.data.tables.preparing import prepare as prepared

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 10)), columns=[f"x{k}" for k in range(10)])
    frame["kind"] = rng.choice(["a", "b", "c"], rows)
    found = []
    for name, write in (("CSV", frame.to_csv), ("Parquet", frame.to_parquet)):
        path, dest = f"{folder}/rows.{name.lower()}", f"{folder}/rows-{name}"
        write(path, index=False)
        asked = Preparation(path), dest, WHOLE, False
        made = rates(rows, lambda asked=asked: prepared(*asked))
        found.append((f"rows of 11 columns, `prepare` from {name}", "disk", made))
    table = own_table.read(dest, memory_limit_mb=1)
    return [*found, ("rows, stream", "disk", streamed(table.stream(PAIRS, 0), 100, PAIRS))]


def many_shards(folder: str, source: str, number: int, copied=os.link) -> str:
    """A folder of so many shards, links to or copies of the first of another folder."""
    from flow_models.core.share import WHOLE
    from flow_models.data.shards.folder import place

    made = f"{folder}/many-{number}"
    index = json.loads(Path(f"{source}/shards.json").read_text())
    rows = index["rows"]["train"][0][0]
    first = place(source, WHOLE, "train", 0)
    copies = {"train": number, "validation": FEW}
    for split, count in copies.items():
        for copy in range(count):
            to = Path(place(made, WHOLE, split, copy))
            to.parent.mkdir(parents=True, exist_ok=True)
            copied(first, to)
    index["rows"] |= {split: [[rows] * count] for split, count in copies.items()}
    Path(f"{made}/shards.json").write_text(json.dumps(index))
    return made


def work(uri: str) -> None:
    """One process: opens shards, and takes batches of two passes from far apart."""
    began = time.perf_counter()
    is_pairs = json.loads(Path(f"{uri}/shards.json").read_text())["kind"] == "pairs"
    stream = pairs_of(uri).train if is_pairs else opened(uri, None, 64).train
    next(iter(stream))
    first = time.perf_counter() - began
    for start in (0, 100, 100_000):
        for _ in stream.skip(start).take(300):
            pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first": first, "memory": most}))


def of_memory(folder: str, source: str, numbers: list[int]) -> list[dict]:
    found = []
    for number in numbers:
        uri = many_shards(folder, source, number)
        command = [sys.executable, __file__, "--work", uri]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        index = Path(uri, "shards.json")
        rows = sum(json.loads(index.read_text())["rows"]["train"][0])
        kind = "pairs" if source.endswith("pairs") else "pictures"
        found.append({"shards": number, "rows": f"{rows:,} {kind}", **json.loads(said)})
        shutil.rmtree(uri)
    return found


def page(rows: list, memory: list[dict], images: int, pairs: int) -> str:
    from mapping import machine

    lines = [
        f"`python benchmarks/shards.py{' ' + ' '.join(sys.argv[1:]) if sys.argv[1:] else ''}`,"
        f" {machine()}, load {os.getloadavg()[0]:.1f}: where that is above two, others ran beside"
        " it, and the second column of rates counts, by the processor's time of this process (the"
        f" store has its own). {images:,} JPEG 256x256 to 64x64 in colour, batches of {BATCH};"
        f" {pairs:,} pairs of a simulator that takes no time, and {10 * pairs:,} rows, in batches"
        f" of {PAIRS}. Streams: the best of three.",
        "",
        "| | from | a second | a second of the processor |",
        "|---|---|---|---|",
    ]
    lines += [f"| {what} | {place} | {a:,.0f} | {b:,.0f} |" for what, place, (a, b) in rows]
    lines += ["", "| shards | of | open, to the first batch, s | peak memory, MB |"]
    lines += ["|---|---|---|---|"]
    lines += [
        f"| {each['shards']:,} | {each['rows']} | {each['first']:.1f} | {each['memory']:,.0f} |"
        for each in memory
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--many", type=int, default=30_000, help="of the largest folder; 0: none")
    parser.add_argument("--disk", action="store_true", help="without the S3 server")
    parser.add_argument("--no-page", action="store_true", help="print the table alone")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return
    from servers import s3_server

    folder = tempfile.mkdtemp(prefix="bench-shards-")
    try:
        with s3_server() as server:
            server.client().create_bucket(Bucket="bench")
            rows = of_pictures(given.images, folder, given.disk)
            rows += of_pairs(given.pairs, folder, given.disk)
        rows += of_tables(10 * given.pairs, folder)
        memory = []
        for source in ("photos-shards", "pairs") if given.many else ():
            memory += of_memory(folder, f"{folder}/{source}", [FEW, given.many])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(rows, memory, given.images, given.pairs)
    print(text)
    if not given.no_page:
        block = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
        PAGE.write_text(block.sub(lambda _: f"{BEGIN}\n{text}\n{END}", PAGE.read_text()))


if __name__ == "__main__":
    main()
