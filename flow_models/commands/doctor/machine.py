"""The machine itself: interpreter and packages, processors, memory, disk, GPUs, and whether
TensorFlow can use them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flow_models.commands.doctor.finding import Finding, one_line

LEAST_DRIVER = (525, 60, 13)  # for all of CUDA 12 on Linux
LEAST_CAPABILITY = 6.0  # the oldest GPU that the packages of TensorFlow hold code for
LEAST_MEMORY, LEAST_DISK = 4.0, 5.0  # GB
CUDA = 'pip install "tensorflow[and-cuda]=={}"'
_PACKAGES = ("tensorflow", "tensorflow-probability", "tf-keras", "numpy", "mlflow", "boto3")


def python() -> Iterator[Finding]:
    """The interpreter, and whether packages are those that requirements.txt pins."""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding(
        "wrong" if old else "ok",
        "python",
        f"{version}, {sys.prefix}",
        "Python 3.11 is needed: make create-env PYTHON=python3.11" if old else "",
    )
    pins, there = _pins(), {name: _version(name) for name in _PACKAGES}
    yield Finding(
        "ok",
        "packages",
        ", ".join(f"{name} {version}" for name, version in there.items() if version),
    )
    for name, version in there.items():
        if version != pins.get(name, version):
            yield Finding(
                "wrong",
                name,
                f"{version or 'not installed'}; tested with {pins[name]}",
                f"pip install {name}=={pins[name]}",
            )


def _pins() -> dict[str, str]:
    listed = Path(__file__).resolve().parents[3] / "requirements.txt"
    text = listed.read_text() if listed.is_file() else ""
    return dict(re.findall(r"^([\w-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def hardware() -> Iterator[Finding]:
    """Processors that this process may use, memory, and room on the disk here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    little = memory < LEAST_MEMORY
    yield Finding(
        "wrong" if little else "ok",
        "machine",
        f"{cores} cores, {memory:.1f} GB of memory",
        f"less than {LEAST_MEMORY:g} GB: take a larger machine" if little else "",
    )
    free = shutil.disk_usage(".").free / 1e9
    little = free < LEAST_DISK
    yield Finding(
        "wrong" if little else "ok",
        "disk",
        f"{free:.1f} GB free in {Path.cwd()}",
        "runs and the cache of pictures need room: free some, or work elsewhere" if little else "",
    )


def driver() -> Iterator[Finding]:
    """NVIDIA GPUs as their driver sees them."""
    if not shutil.which("nvidia-smi"):
        bare = _has_nvidia_device()
        yield Finding(
            "wrong" if bare else "none",
            "gpu",
            "an NVIDIA GPU without a driver" if bare else "none; training uses the CPU",
            "install the driver, see doc/ec2_gpu.md" if bare else "",
        )
        return
    fields = "name,driver_version,memory.total,compute_cap"
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[:200]
        yield Finding(
            "wrong",
            "gpu",
            f"nvidia-smi: {said}",
            "reboot after an update of driver or kernel, or install the driver again, see"
            " doc/ec2_gpu.md",
        )
        return
    for line in done.stdout.splitlines():
        yield gpu(*(part.strip() for part in line.split(",")))


def gpu(name: str, version: str, memory: str, capability: str) -> Finding:
    """One GPU by what nvidia-smi says of it."""
    said = f"{name}, {memory}, compute capability {capability}, driver {version}"
    if tuple(int(part) for part in re.findall(r"\d+", version)) < LEAST_DRIVER:
        least = ".".join(map(str, LEAST_DRIVER))
        return Finding(
            "wrong", "gpu", said, f"CUDA 12 needs driver {least} or later, see doc/ec2_gpu.md"
        )
    if float(capability) < LEAST_CAPABILITY:
        return Finding(
            "wrong",
            "gpu",
            said,
            f"TensorFlow needs compute capability {LEAST_CAPABILITY:g}: another instance type",
        )
    return Finding("ok", "gpu", said)


def _has_nvidia_device() -> bool:
    """Whether a display or compute device on the PCI bus is NVIDIA's (vendor 10de, class 03)."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            if (device / "vendor").read_text().strip() == "0x10de" and (
                device / "class"
            ).read_text().startswith("0x03"):
                return True
        except OSError:
            continue
    return False


def tensorflow() -> Iterator[Finding]:
    """Whether TensorFlow loads, which devices it sees, and whether it compiles for the first of
    them."""
    try:
        from flow_models.core.startup import load_tensorflow

        tf = load_tensorflow()
    except Exception as error:  # whatever a broken installation raises
        yield Finding(
            "wrong",
            "tensorflow",
            f"does not load: {one_line(error)}",
            "make create-env makes a fresh environment",
        )
        return
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and shutil.which("nvidia-smi"):
        yield Finding(
            "wrong", "tensorflow", f"{tf.__version__} sees no GPU", CUDA.format(tf.__version__)
        )
    build = tf.sysconfig.get_build_info()
    cuda = (
        f", made for CUDA {build['cuda_version']} and cuDNN {build['cudnn_version']}"
        if gpus
        else ""
    )
    yield Finding(
        "ok", "tensorflow", f"{tf.__version__} on {f'{len(gpus)} GPU' if gpus else 'CPU'}{cuda}"
    )
    yield _compiled(tf, "GPU:0" if gpus else "CPU:0")


def _compiled(tf, device: str) -> Finding:
    """The way that training takes: a product and its gradient, compiled by XLA."""
    begin = time.perf_counter()
    try:
        with tf.device(device):
            x = tf.ones([256, 256])

            @tf.function(jit_compile=True)
            def gradient(x):
                return tf.gradients(tf.reduce_sum(tf.tanh(x @ x)), x)[0]

            gradient(x).numpy()
    except Exception as error:  # a missing libdevice or ptxas, a GPU in use, a broken installation
        return Finding(
            "wrong", "compiler", f"XLA on {device}: {one_line(error)}", CUDA.format(tf.__version__)
        )
    return Finding(
        "ok",
        "compiler",
        f"XLA on {device}, {time.perf_counter() - begin:.1f} s for a first small function",
    )
