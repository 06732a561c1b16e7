"""The machine itself: Python and packages, processors, memory, disk, GPUs, and TensorFlow."""

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

from flow_models.commands.doctor.finding import Finding, one_line, verdict
from flow_models.core.installed import REPOSITORY

LEAST_DRIVER = (525, 60, 13)  # for all of CUDA 12 on Linux
LEAST_DRIVER_OF_PTX = (555, 42, 2)  # of CUDA 12.5, for GPUs whose code the driver compiles
CAPABILITIES = 6.0, 9.0  # the oldest and newest GPUs that the packages of TensorFlow hold code for
COMPILED = 9.0  # from here on that code is PTX
LEAST_MEMORY, LEAST_DISK = 4.0, 5.0  # GB
CUDA = 'pip install "tensorflow[and-cuda]=={}"'
_PACKAGES = ("tensorflow", "tensorflow-probability", "tf-keras", "numpy", "mlflow", "boto3")


def python() -> Iterator[Finding]:
    """The interpreter, and whether the packages are those that requirements.txt pins."""
    version = ".".join(map(str, sys.version_info[:3]))
    fix = "Python 3.11 is needed: make create-env PYTHON=python3.11"
    yield verdict(sys.version_info >= (3, 11), "python", f"{version}, {sys.prefix}", fix)
    pins, installed = _pins(), {name: _version(name) for name in _PACKAGES}
    listed = [f"{name} {version}" for name, version in installed.items() if version]
    yield Finding("ok", "packages", ", ".join(listed))
    for name, found in installed.items():
        if found != pins.get(name, found):
            said = f"{found or 'not installed'}; tested with {pins[name]}"
            yield Finding("wrong", name, said, f"pip install {name}=={pins[name]}")


def _pins() -> dict[str, str]:
    """The pins of requirements.txt; none outside the repository, where pip has checked ranges."""
    listed = REPOSITORY / "requirements.txt"
    text = listed.read_text() if listed.is_file() else ""
    return dict(re.findall(r"^([\w-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def hardware() -> Iterator[Finding]:
    """Processors that this process may use, memory, and free space on the disk here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    said = f"{cores} cores, {memory:.1f} GB of memory"
    fix = f"less than {LEAST_MEMORY:g} GB: take a larger machine"
    yield verdict(memory >= LEAST_MEMORY, "machine", said, fix)
    free = shutil.disk_usage(".").free / 1e9
    fix = "runs and the cache of pictures need space: free some, or work elsewhere"
    yield verdict(free >= LEAST_DISK, "disk", f"{free:.1f} GB free in {Path.cwd()}", fix)


def driver() -> Iterator[Finding]:
    """NVIDIA GPUs as their driver sees them."""
    if not shutil.which("nvidia-smi"):
        yield _without_driver()
        return
    fields = "name,driver_version,memory.total,compute_cap"
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[:200]
        fix = "reboot after an update of driver or kernel, or reinstall the driver"
        yield Finding("wrong", "gpu", f"nvidia-smi: {said}", f"{fix}, see doc/ec2_gpu.md")
        return
    for line in done.stdout.splitlines():
        yield gpu(*(part.strip() for part in line.split(",")))


def gpu(name: str, version: str, memory: str, capability: str) -> Finding:
    """One GPU, as nvidia-smi describes it."""
    said = f"{name}, {memory}, compute capability {capability}, driver {version}"
    bound = LEAST_DRIVER_OF_PTX if float(capability) >= COMPILED else LEAST_DRIVER
    if tuple(int(part) for part in re.findall(r"\d+", version)) < bound:
        needed = ".".join(map(str, bound))
        fix = f"CUDA 12 needs driver {needed} or later, see doc/ec2_gpu.md"
        return Finding("wrong", "gpu", said, fix)
    least, most = CAPABILITIES
    fix = f"this TensorFlow has code for compute capability {least} to {most}: another instance"
    return verdict(least <= float(capability) <= most, "gpu", said, fix)


def _without_driver() -> Finding:
    """No GPU, or an NVIDIA device on the PCI bus (vendor 10de, class 03) that has no driver."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            fix = "install the driver, see doc/ec2_gpu.md"
            return Finding("wrong", "gpu", "an NVIDIA GPU without a driver", fix)
    return Finding("none", "gpu", "none; training uses the CPU")


def tensorflow() -> Iterator[Finding]:
    """Whether TensorFlow loads, which devices it sees, and whether XLA compiles for the first."""
    try:
        from flow_models.core.startup import GPU_FILES, complaint, load_tensorflow

        tf = load_tensorflow()
    except Exception as error:  # whatever a broken installation raises
        said, fix = f"does not load: {one_line(error)}", "make create-env makes a fresh environment"
        yield Finding("wrong", "tensorflow", said, fix)
        return
    version, gpus = tf.__version__, tf.config.list_physical_devices("GPU")
    if not gpus and (shutil.which("nvidia-smi") or any(map(os.path.exists, GPU_FILES))):
        said = f"{version} sees no GPU; it said: {complaint() or 'nothing'}"
        yield Finding("wrong", "tensorflow", said, CUDA.format(version))
    devices = "CPU"
    if gpus:
        build = tf.sysconfig.get_build_info()
        cuda, cudnn = build["cuda_version"], build["cudnn_version"]
        devices = f"{len(gpus)} GPU, made for CUDA {cuda} and cuDNN {cudnn}"
    yield Finding("ok", "tensorflow", f"{version} on {devices}")
    yield _compiled(tf, "GPU:0" if gpus else "CPU:0")


def _compiled(tf, device: str) -> Finding:
    """Whether XLA compiles a product and its gradient, as training needs."""
    begin = time.perf_counter()
    try:
        with tf.device(device):
            x = tf.ones([256, 256])

            @tf.function(jit_compile=True)
            def gradient(x):
                return tf.gradients(tf.reduce_sum(tf.tanh(x @ x)), x)[0]

            gradient(x).numpy()
    except Exception as error:  # a missing libdevice or ptxas, a GPU in use, a broken installation
        said, fix = f"XLA on {device}: {one_line(error)}", CUDA.format(tf.__version__)
        return Finding("wrong", "compiler", said, fix)
    seconds = time.perf_counter() - begin
    return Finding("ok", "compiler", f"XLA on {device}, {seconds:.1f} s for a first small function")
