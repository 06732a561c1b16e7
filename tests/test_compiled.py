"""What XLA compiled is kept for the next process, and never in the way of this one."""

import os
import subprocess
import sys
import time

import pytest

from flow_models.core import compiled

ON_CPU = pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="kept on CPUs alone")
NAME = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"
TRAINING = """
import hashlib, os
import numpy as np
import flow_models as fm
model = fm.Model(fm.architectures.realnvp(2, depth=2, hidden=(8,), seed=1))
x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
settings = fm.FitSettings(steps=4, batch_size=64, eval_every_steps=2)
fm.fit(model, x, settings=settings, progress=False)
print(hashlib.md5(model.log_prob(x).tobytes() + model.sample(50, seed=1).tobytes()).hexdigest())
"""


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    monkeypatch.setattr(compiled.atexit, "register", lambda *given: None)
    compiled.keep_compiled.cache_clear()
    yield tmp_path / "flow_models" / "compiled"
    compiled.keep_compiled.cache_clear()


def process(*contents: bytes):
    """What a process does that compiles these: opens a folder, XLA writes, it ends."""
    folder = compiled._opened()
    for number, content in enumerate(contents):
        (folder / f"{number}{NAME}").write_bytes(content)
    compiled._hand_over(folder, os.getpid())
    assert not folder.exists()


def read() -> dict[str, bytes]:
    """What a new process would find."""
    folder = compiled._opened()
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    compiled._hand_over(folder, os.getpid())
    return found


@ON_CPU
def test_the_next_process_finds_what_this_one_compiled(caches):
    process(b"one", b"two")
    assert read() == {f"0{NAME}": b"one", f"1{NAME}": b"two"}
    assert read() == {f"0{NAME}": b"one", f"1{NAME}": b"two"}


@ON_CPU
@pytest.mark.parametrize("damage", [b"", b"on", b"onf"])
def test_damaged_files_are_dropped(caches, damage):
    process(b"one", b"two")
    (path,) = caches.glob(f"*/0{NAME}.*")
    path.write_bytes(damage)
    assert read() == {f"1{NAME}": b"two"} and not path.exists()


@ON_CPU
def test_the_longest_unused_go_first(caches, monkeypatch):
    monkeypatch.setattr(compiled, "LIMIT", 10)
    process(b"12345")
    (old,) = caches.glob("*/*.pb.*")
    os.utime(old, (time.time() - 100,) * 2)
    compiled._hand_over(new := compiled._opened(), os.getpid())
    process(*[b"54321"] * 2)
    assert not new.exists() and sum(path.stat().st_size for path in caches.glob("*/*.pb.*")) == 10


@ON_CPU
def test_folders_of_killed_processes_go_after_a_day(caches):
    killed = compiled._opened()
    read()
    assert killed.exists()
    os.utime(killed, (time.time() - 2 * compiled._ABANDONED,) * 2)
    read()
    assert not killed.exists()


@ON_CPU
def test_a_child_process_has_a_folder_of_its_own(caches, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", f"--tf_xla_clustering_debug {compiled.FLAG}/x/process-ab")
    compiled.keep_compiled()
    first, folder = os.environ["TF_XLA_FLAGS"].split()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert first == "--tf_xla_clustering_debug" and folder.startswith(f"{compiled.FLAG}{caches}")


def test_it_can_be_switched_off_and_a_folder_of_ones_own_stays(caches, monkeypatch):
    monkeypatch.setenv(compiled.SWITCH, "0")
    compiled.keep_compiled()
    assert "TF_XLA_FLAGS" not in os.environ
    compiled.keep_compiled.cache_clear()
    monkeypatch.delenv(compiled.SWITCH)
    monkeypatch.setenv("TF_XLA_FLAGS", f"{compiled.FLAG}/mine")
    compiled.keep_compiled()
    assert os.environ["TF_XLA_FLAGS"] == f"{compiled.FLAG}/mine" and not caches.exists()


@pytest.mark.parametrize("cause", ["not a folder", "full", "blank"])
def test_nothing_is_kept_where_it_would_fail(caches, monkeypatch, tmp_path, cause):
    if cause == "not a folder":
        caches.parent.write_text("")
    elif cause == "full":
        monkeypatch.setattr(compiled, "ROOM", 2**60)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my caches"))
    compiled.keep_compiled()
    assert "TF_XLA_FLAGS" not in os.environ


def test_other_compiler_settings_have_another_folder(monkeypatch):
    before = compiled._key()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    assert compiled._key() != before


@ON_CPU
@pytest.mark.slow
def test_equal_bits_with_and_without(tmp_path):
    def bits(**changes: str) -> str:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **changes}
        done = subprocess.run(
            [sys.executable, "-c", TRAINING],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    without = bits(FLOW_MODELS_KEEP_COMPILED="0")
    assert not list(tmp_path.iterdir())
    assert bits() == without
    kept = set(tmp_path.glob("flow_models/compiled/*/*.pb.*"))
    assert len(kept) >= 2
    assert bits() == without
    assert kept <= set(tmp_path.glob("flow_models/compiled/*/*.pb.*"))
