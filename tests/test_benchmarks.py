"""The comparison with other libraries, as far as it goes without their environment."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.data import points
from flow_models.training.optimizer import learning_rate
from flow_models.training.settings import FitSettings

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench_flows  # noqa: E402
import gpu  # noqa: E402
from flows import data, environment, protocol, table  # noqa: E402
from flows.plan import RATE, median  # noqa: E402

RECIPE = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.99, "warmup": 5, "steps": 40, "clip": 5.0}


def entry(quantity, library, form, values, model="realnvp"):
    return {
        "quantity": quantity,
        "model": model,
        "library": library,
        "form": form,
        "values": values,
    }


RESULT = {
    "date": "2026-11-23 12:00",
    "minutes": 14.2,
    "command": "make bench-flows",
    "machine": {
        "cpu": "a processor",
        "cores": 2,
        "memory_gb": 23.5,
        "load": 0.1,
        "load_after": 1.1,
    },
    "facts": {"ours": {"versions": {"tensorflow": "2.21.0"}, "parameters": {"realnvp": 136208}}},
    "failures": ["zuko (compiled): no answer to train in 600 s"],
    "quality": {
        "bins": 16,
        "hidden": [64, 64],
        "activation": "silu",
        "batch": 512,
        "recipe": RECIPE,
        "seeds": 2,
        "cap": 60.0,
        "validation": 10_000,
        "every": 50,
    },
    "measurements": [
        entry("train_256", "ours", "unrolled", [240.0, 250.0, 230.0]),
        entry("train_256", "ours", "looped", [999.0]),
        entry("train_256", "flowjax", "scan", [200.0]),
        entry("train_256", "zuko", "eager", [60.0]),
        entry("train_256", "zuko", "compiled", [80.0]),
        entry("sample", "ours", "unrolled", [450_000.0]),
        entry("gap_0.02", "ours", "preset", [6.0, 7.0], "spline"),
        entry("gap_0.02", "flowjax", "scan", [13.0, None, 15.0], "spline"),
        entry("gap_0.02", "zuko", "eager", [None], "spline"),
    ],
}


def bench(*arguments):
    command = [sys.executable, str(BENCHMARKS / "bench_flows.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_is_quick_and_names_the_rows():
    began = time.perf_counter()
    done = bench("--help")
    assert time.perf_counter() - began < 2 and done.returncode == 0
    assert "first_step" in done.stdout and "--quick" in done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--models", "glow"], "invalid choice: 'glow'"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--rounds", "0"], "--rounds must be above 0"),
        (["--render", "nowhere.json"], "no file nowhere.json"),
    ],
)
def test_a_mistake_is_one_line(arguments, words):
    done = bench(*arguments)
    assert (
        done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    )


def test_a_peers_environment_that_cannot_be_installed_is_one_line(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("./nowhere-1.0-py3-none-any.whl\n")
    with pytest.raises(
        UserError, match="cannot install the peers' environment .*nowhere"
    ) as failure:
        environment.python(tmp_path, requirements)
    assert len(str(failure.value).splitlines()) == 1 and not (tmp_path / ".complete").exists()


def test_render_writes_the_page_of_a_recorded_result(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    done = bench("--render", str(tmp_path / "result.json"), "--page", str(tmp_path / "page.md"))
    assert done.returncode == 0
    assert (tmp_path / "page.md").read_text() == table.markdown(RESULT)


def test_the_first_table_has_best_forms_and_ratios():
    lines = table.markdown(RESULT).splitlines()
    row = {
        line.split(" | ")[1]: line
        for line in reversed(lines)
        if " | " in line and not line.startswith("| realnvp")
    }
    assert "| 240 | 200 | 80.0 (compiled) | 1.20 | 3.00 |" in row["training, batch 256"]
    assert "| 450 |" in row["sample"]
    gap = next(line for line in lines if "spline coupling" in line and "gap is 0.02" in line)
    assert "| 6.5 | 15.0 | not reached | 2.31 |  |" in gap
    assert "136,208 in each" in "\n".join(lines) and "- Failed: zuko (compiled)" in "\n".join(lines)


@pytest.mark.parametrize(
    "values, expected", [([3.0, 1.0, 2.0], 2.0), ([1.0, None], None), ([1.0, 2.0, None], 2.0)]
)
def test_a_gap_that_was_not_reached_counts_as_the_longest_time(values, expected):
    assert median(values) == expected


def test_the_points_and_their_truth_are_those_of_the_project(tmp_path):
    data.draw(tmp_path, 300, 200)
    moons = points.get("moons")
    raw, standardised = data.load(tmp_path, False), data.load(tmp_path, True)
    np.testing.assert_array_equal(raw.train, moons.draw(300, data.SEEDS["train"]).numpy())
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["entropy"] == moons.entropy
    assert truth["nll"] == pytest.approx(-moons.log_prob(raw.validation).mean(), abs=1e-12)
    assert np.abs(standardised.train.mean(0)).max() < 1e-5 and standardised.train.std(
        0
    ) == pytest.approx(1, abs=1e-5)
    scale = raw.validation.std(0) / standardised.validation.std(0)
    assert standardised.log_scale == pytest.approx(np.log(scale).sum(), abs=1e-5)


def test_all_libraries_have_the_learning_rates_of_fit():
    settings = FitSettings(steps=40, warmup_steps=5, learning_rate=3e-3)
    ours = [float(learning_rate(settings, tf.constant(step))) for step in range(45)]
    assert [protocol.rate(RECIPE, step) for step in range(45)] == pytest.approx(ours, abs=1e-8)
    assert {protocol.rate(RATE, step) for step in range(45)} == {1e-3}


def test_batches_are_passes_over_distinct_rows():
    index = protocol.Batches(rows=10, batch=3, seed=0).take(6)
    assert index.shape == (6, 3)
    for one_pass in (index[:3], index[3:]):
        assert len(set(one_pass.ravel())) == 9 and set(one_pass.ravel()) <= set(range(10))


def test_our_worker_trains_with_fit_and_can_be_built_again(tmp_path):
    from flows.ours import Ours

    data.draw(tmp_path, 2000, 500)
    worker = Ours(str(tmp_path))
    spec = {
        "model": "realnvp",
        "depth": 2,
        "hidden": [8, 8],
        "activation": "relu",
        "bins": 4,
        "bound": 5.0,
        "batch": 100,
        "chunk": 20,
        "seed": 0,
        "form": "looped",
        "layers_per_loop_body": 1,
        "recipe": RECIPE,
        "validate": True,
    }
    assert worker.build(spec)["chunk"] == 20
    began = time.perf_counter()
    first = worker.train(20)
    first_nll = worker.nll()
    second = worker.train(20)
    assert 0 < second < first and first + second < time.perf_counter() - began
    assert worker.nll() < first_nll
    worker.build(spec | {"batch": 50, "validate": False, "recipe": RATE})
    assert worker.train(40) > 0
    assert worker.log_prob(worker.data.validation).shape == (500,) and worker.sample(7).shape == (
        7,
        2,
    )
    worker._end()


def test_the_table_of_devices_shows_what_each_process_measured_before_it_failed():
    cpu = {"application 1": {"steps_per_second": 1234.5, "inverted": 2e-6}}
    late = {"network of convolutions": {"products": 1.0}, "error": "GPU, TF32: not ready"}
    lines = gpu.table({"CPU": cpu, "GPU, TF32": late})
    assert lines[0] == "| | | CPU | GPU, TF32 |"
    assert lines[2:] == [
        "| application 1 | steps a second | 1,234.5 |  |",
        "| application 1 | inverted | 2.0e-06 |  |",
        "| network of convolutions | products, ms |  | 1.00 |",
    ]


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow sees a GPU")
def test_devices_are_not_compared_without_a_gpu(monkeypatch):
    monkeypatch.setenv("DEVICE", "")
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(UserError, match="^DEVICE=gpu asks for a GPU, and .*--device cpu") as error:
        gpu.main()
    assert "\n" not in str(error.value)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--steps", "0"])
    with pytest.raises(UserError, match="--steps is 0, must be at least 1"):
        gpu.main()


@pytest.mark.slow
def test_devices_are_compared_on_the_cpu(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--apps", "1"]
    command += ["--preset", "smoke", "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    of = {(row[0], row[1]): row[2] for row in rows if len(row) == 3}
    assert float(of["application 1", "inverted"]) < 1e-4
    for row in ("products, ms", "convolutions of XLA or cuDNN, ms"):
        assert float(of["network of convolutions", row]) > 0
    assert float(of["application 1", "steps a second"].replace(",", "")) > 0


def test_the_machine_of_a_table_has_its_vectors_and_caches(tmp_path):
    one = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu {} sse2\n\nprocessor\t: 1\n"
    for index, (kind, size) in enumerate(
        [("Data", "32K"), ("Instruction", "64K"), ("Unified", "1024K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "size").write_text(f"{size}\n")
    said = bench_flows.processor(one.format("avx2 avx512f"), tmp_path)
    assert said == "A Processor, AVX-512, caches 32K + 1024K"
    assert bench_flows.processor(one.format("avx2"), tmp_path / "no") == "A Processor, AVX2"
    assert bench_flows.processor("", tmp_path / "no") == "unknown processor"
    assert bench_flows.machine()["cores"] >= 1
