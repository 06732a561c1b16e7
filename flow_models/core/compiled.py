"""What XLA compiles for the CPU, kept on the local disk: the next process that needs it reads it.

XLA does so itself, yet it stops a training where a file is damaged or the disk is full, and keeps
all for ever. So each process has a folder of its own, filled with links to what is whole, and
hands over what it compiled when it ends. FLOW_MODELS_KEEP_COMPILED=0 switches this off.
"""

import atexit
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import tempfile
import time
import zlib
from pathlib import Path

from flow_models.core.storage import cache_folder

SWITCH = "FLOW_MODELS_KEEP_COMPILED"
LIMIT = 512 * 2**20  # bytes kept, all models together
ROOM = 2 * LIMIT  # bytes that a disk must have free
FLAG = "--tf_xla_persistent_cache_directory="
_OWN, _ABANDONED = "process-", 24 * 3600  # seconds until a killed process's folder goes
_FEATURES = re.compile(r"^(vendor_id|cpu family|model|model name|flags|Features|CPU part)\s*:")


@functools.cache
def keep_compiled() -> None:
    """Points XLA to a folder of this process, if called before XLA has read its settings.

    Nothing is kept on a disk that cannot be written to or is nearly full, where the folder has a
    blank in its name, on machines with a GPU, or where TF_XLA_FLAGS names a folder itself.
    """
    ours = rf"\s*{FLAG}\S*/{_OWN}\S*"  # of the process that started this one
    flags = re.sub(ours, "", os.environ.get("TF_XLA_FLAGS", ""))
    folder = None if FLAG in flags else _opened()
    if folder:
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "2":  # as flow_models sets it
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA takes its own tuning for a CPU feature
        atexit.register(_hand_over, folder, os.getpid())
        flags = f"{flags} {FLAG}{folder}".strip()
    if flags or "TF_XLA_FLAGS" in os.environ:
        os.environ["TF_XLA_FLAGS"] = flags


def _opened() -> Path | None:
    """A new folder of links to all that is kept and whole; None where nothing is to be kept."""
    kept = Path(cache_folder("compiled"))
    gpu = os.path.exists("/dev/nvidiactl") or os.environ.get("DEVICE", "").lower() == "gpu"
    off = os.environ.get(SWITCH) == "0" or gpu
    if off or re.search(r"\s", str(kept)):
        return None
    try:
        kept = kept / _key()
        kept.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(kept).free < ROOM:
            return None
        folder = Path(tempfile.mkdtemp(prefix=_OWN, dir=kept))
        for path in kept.iterdir():
            if path.is_dir() and time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and _whole(path):
                os.link(path, folder / path.stem)
    except OSError:
        return None
    return folder


def _key() -> str:
    """Names what compiled code depends on beside the computation: the build of TensorFlow, the
    compiler's settings, the processor and the number of its cores."""
    spec = importlib.util.find_spec("tensorflow")
    build = Path(spec.origin).stat() if spec and spec.origin else None
    parts = [
        spec and spec.origin,
        build and (build.st_mtime_ns, build.st_size),
        [os.environ.get(name) for name in ("XLA_FLAGS", "TF_NUM_INTRAOP_THREADS")],
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        _processor(),
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def _processor() -> list[str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return [platform.machine(), platform.processor()]
    return [line for line in first.splitlines() if _FEATURES.match(line)]


def _whole(path: Path) -> bool:
    """Whether a file has the checksum of its name; one that has not is removed."""
    before = path.stat()
    if path.suffix == f".{zlib.crc32(path.read_bytes()):08x}":
        # the time of the last use is that of XLA's reading, which a system notes after a change
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return True
    path.unlink(missing_ok=True)
    return False


def _hand_over(folder: Path, process: int) -> None:
    """Keeps what the process compiled, removes its folder and the longest unused beyond LIMIT."""
    if os.getpid() != process:  # a fork's end
        return
    kept = folder.parent
    try:
        for path in folder.glob("*.pb"):
            if path.stat().st_nlink == 1:
                path.replace(kept / f"{path.name}.{zlib.crc32(path.read_bytes()):08x}")
        _shrink(kept.parent)
    except OSError:  # another process made room, or the disk is gone
        pass
    shutil.rmtree(folder, ignore_errors=True)


def _shrink(compiled: Path) -> None:
    files = compiled.glob("*/*.pb.*")
    by_use = sorted(((path.stat(), path) for path in files), key=lambda each: -each[0].st_atime)
    total = 0
    for status, path in by_use:
        total += status.st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)
