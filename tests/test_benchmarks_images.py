"""The comparison of image flows with normflows, as far as it goes without PyTorch."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from flows import protocol  # noqa: E402
from images import data, plan, quality, table  # noqa: E402
from images.library import ImageLibrary  # noqa: E402

SMALL = {
    "model": "glow",
    "shape": [8, 8, 1],
    "depth": 2,
    "levels": 1,
    "hidden": [8, 8],
    "batch": 8,
    "chunk": 5,
    "seed": 0,
    "form": "default",
    "reversible": "auto",
    "layers_per_loop_body": 1,
    "ema": 0.9,
    "validate": False,
    "recipe": {
        "learning_rate": 2e-3,
        "beta1": 0.9,
        "beta2": 0.99,
        "warmup": 2,
        "steps": 20,
        "clip": 5.0,
    },
}


def entry(quantity, problem, library, form, values):
    return {
        "quantity": quantity,
        "model": problem,
        "library": library,
        "form": form,
        "values": values,
    }


def run(library, bits, seed=0):
    return {
        "library": library,
        "form": "eager",
        "seed": seed,
        "rate": 0.002,
        "bits": bits,
        "steps": 900,
        "seconds": 240.0,
        "start": 20.0,
        "parameters": 150_000,
    }


RESULT = {
    "date": "2026-11-24 18:00",
    "minutes": 50.0,
    "command": "make bench-images",
    "machine": {
        "cpu": "a processor",
        "cores": 2,
        "memory_gb": 23.5,
        "load": 0.1,
        "load_after": 1.1,
    },
    "threads": 0,
    "facts": {"ours": {"versions": {"tensorflow": "2.21.0"}, "parameters": {"glow_32": 1_620_000}}},
    "failures": ["ours (plain): no answer to train in 600 s"],
    "plan": {"rounds": 3, "budget": 240.0, "trial": 60.0},
    "images": {"source": "silhouettes", "counts": {"train": 7772, "validation": 500, "test": 972}},
    "measurements": [
        entry("step", "glow_32", "ours", "default", [0.2, 0.25, 0.24]),
        entry("step", "glow_32", "normflows", "eager", [0.5, 0.4, 0.6]),
        entry("step", "glow_32", "normflows", "channels_last", [0.48, 0.47, 0.49]),
        entry("memory_train", "glow_32", "ours", "default", [61.2]),
        entry("first_step", "glow_32", "ours", "default", [12.0, 11.0]),
        entry("first_step", "glow_32", "normflows", "eager", [2.3]),
        entry("step", "glow_32_depth_64", "ours", "reversible", [2.0]),
        entry("memory_train", "glow_32_depth_64", "ours", "reversible", [59.0]),
        entry("memory_train", "glow_32_depth_64", "normflows", "eager", [1697.0]),
        entry("step", "glow_32_depth_64", "normflows", "eager", [3.0]),
    ],
    "drift": [
        {
            "depth": 64,
            "steps": 20,
            "round_trip": 2e-3,
            "inversion": 5e-6,
            "plain": 1e-6,
            "inversion_worst": 9e-5,
            "plain_worst": 2e-5,
        }
    ],
    "quality": {
        "trials": {"ours default": {"0.001": 2.5, "0.002": 2.4}, "normflows eager": {"0.001": 2.7}},
        "chosen": {"ours default": 0.002, "normflows eager": 0.001},
        "finals": [run("ours", [2.0, 2.2, 2.4]), run("normflows", [2.5, 2.6, 2.7])],
        "fair": True,
    },
}


def bench(*arguments):
    command = [sys.executable, str(BENCHMARKS / "bench_images.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_is_quick_and_names_the_sections():
    began = time.perf_counter()
    done = bench("--help")
    assert time.perf_counter() - began < 2 and done.returncode == 0
    assert "speed,first,memory,drift,quality" in done.stdout and "--threads" in done.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["--sections", "speed,beauty"],
            "no section 'beauty'; there are speed,first,memory,drift,quality",
        ),
        (["--threads", "999"], "--threads is 999, this machine has"),
        (["--budget", "0"], "--budget must be above 0"),
        (["--rates", "0.001", "-1"], "--rates must be above 0"),
        (["--problems", "vae"], "invalid choice: 'vae'"),
        (["--render", "nowhere.json"], "no file nowhere.json"),
    ],
)
def test_a_mistake_is_one_line(arguments, words):
    done = bench(*arguments)
    assert (
        done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    )


def test_render_writes_the_page_of_a_recorded_result(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    done = bench("--render", str(tmp_path / "result.json"), "--page", str(tmp_path / "page.md"))
    assert done.returncode == 0
    assert (tmp_path / "page.md").read_text() == table.markdown(RESULT)


def test_the_page_has_medians_ratios_to_the_fastest_form_and_every_command():
    lines = table.markdown(RESULT).splitlines()
    ours = [line for line in lines if "| ours | default |" in line]
    assert (
        "| 0.24 | 0.2 to 0.25 | 2.00 | 1,620,000 | 61 |  |" in ours[0]
        and "| 11.5 | 0.20 |" in ours[1]
    )
    deep = next(line for line in lines if line.startswith("| 64 | ours"))
    assert "| 2 | 1.50 |" in deep and "| 59 |  |" in deep
    for section in ("speed", "first", "memory", "drift", "quality"):
        assert f'    make bench-images ARGS="--sections {section}"' in lines
    assert "- Failed: ours (plain): no answer to train in 600 s" in lines


def test_sections_that_were_not_measured_are_left_out():
    page = table.markdown(
        {**RESULT, "measurements": [], "drift": [], "quality": None, "failures": []}
    )
    assert "##" not in page and page.startswith("# Image flows")


def test_bits_of_the_same_images_are_compared_in_pairs():
    found = table.compare([2.0, 2.2, 2.4], [2.5, 2.6, 2.7])
    assert found["ours"] == pytest.approx(2.2) and found["difference"] == pytest.approx(-0.4)
    assert found["ours_error"] == pytest.approx(0.2 / 3**0.5)
    assert found["difference_error"] == pytest.approx(0.1 / 3**0.5)
    assert found["lower_by"] == pytest.approx(0.4 / 2.6)


@pytest.mark.parametrize("counts, fair", [([100, 102], True), ([100, 103], False)])
def test_parameters_may_differ_by_two_percent(counts, fair):
    assert quality._fair([{"parameters": count} for count in counts]) == fair


def test_a_rate_that_diverged_is_not_chosen():
    trials = {
        "ours": {"0.001": 2.5, "0.002": 2.4},
        "theirs": {"0.001": math.nan, "0.002": 2.9},
        "other": {"0.001": math.nan},
    }
    assert quality.choose(trials) == {"ours": 0.002, "theirs": 0.002}
    assert "| normflows eager | 2.7000 | diverged | 0.001 |" in table.markdown(RESULT)


def test_held_out_levels_keep_their_pixels():
    pixels = np.arange(256, dtype=np.uint8).repeat(1000).reshape(-1, 1, 1, 1)
    levels = data.dequantised(pixels, 0)
    np.testing.assert_array_equal(np.floor(levels), pixels)
    assert levels.dtype == np.float32 and abs((levels - pixels).mean() - 0.5) < 0.01


def test_a_recipe_warms_up_and_ends_at_zero():
    recipe = plan.QualityPlan().recipe(2e-3, 400)
    rates = [protocol.rate(recipe, step) for step in range(401)]
    assert max(rates) == pytest.approx(2e-3, rel=0.01) and rates[0] < 1e-4 and rates[400] == 0.0


def test_memory_counts_from_the_moment_it_is_asked_for(tmp_path):
    library = ImageLibrary(str(tmp_path))
    before = library.resident()["resident_mb"]
    block = np.ones((64, 2**20), np.uint8)  # 64 MB
    del block
    assert 60 < protocol.memory_mb() - before < 80
    library.resident()
    assert protocol.memory_mb() - before < 30


def test_our_worker_trains_to_the_end_and_scores_the_held_out_levels(tmp_path):
    from images.ours import OurImages

    pixels = np.random.default_rng(0).integers(100, 150, (64, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "some.npy", pixels)
    np.save(tmp_path / "held_out.npy", data.dequantised(pixels[:10], 1))
    worker = OurImages(str(tmp_path))
    assert worker.load("some") == {"images": 64}
    assert worker.build(SMALL)["parameters"] > 0
    seconds = worker.train(5) + worker.train(15)
    assert seconds > 0
    bits = worker.bits_per_dim("held_out")["bits_per_dim"]
    assert (
        len(bits) == 10 and np.log2(50) - 0.5 < np.mean(bits) < 8
    )  # the entropy is log2(50) = 5.64


@pytest.mark.slow
def test_inversion_gives_the_gradient_of_the_same_weights(tmp_path):
    from images import inversion

    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    (row,) = inversion.measure(SMALL | {"recipe": plan.SLOW}, pixels, [5])["rows"]
    assert row["steps"] == 5 and row["round_trip"] < 0.1
    assert 0 < row["inversion"] < 1e-4 and 0 < row["plain"] < 1e-4
