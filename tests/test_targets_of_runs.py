"""Runs held against the targets of their applications."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import targets

REACHED = {
    "flowmodels1": {"kl_to_truth": 0.0023},
    "flowmodels2": {
        "auroc_complexity_mnist": 0.962,
        "auroc_likelihood_ratio_mnist": 0.991,
        "auroc_pixel_mean_mnist": 0.915,
        "auroc_pca_mnist": 0.918,
        "auroc_compressed_size_mnist": 0.489,
        "auroc_likelihood_ratio_near": 0.933,
        "auroc_pca_near": 0.923,
    },
    "flowmodels3": {
        "accuracy": 0.954,
        "accuracy_svm": 0.938,
        "ece": 0.018,
        "bits_per_dim_ratio": 1.036,
    },
    "flowmodels4": {
        "kl_to_truth": -0.0001,
        "accuracy": 1.0,
        "accuracy_bayes": 1.0,
        "mode_share_worst": 0.0,
        "samples_beyond_4_sd": 0.00005,
    },
}
WRONG = {
    "flowmodels1": ("kl_to_truth", 0.0031),
    "flowmodels2": ("auroc_pca_mnist", 0.992),
    "flowmodels3": ("accuracy", 0.937),
    "flowmodels4": ("accuracy", 0.9979),
}


def written(folder: Path, application: str, metrics: dict) -> str:
    tags = {"application": application, "data": "moons", "preset": "default"}
    folder.mkdir()
    (folder / "about.json").write_text(json.dumps({"tags": tags}))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


@pytest.mark.parametrize("application", REACHED)
def test_a_target_is_reached_missed_or_not_measured(tmp_path, capsys, application):
    known = REACHED[application]
    assert targets.main([written(tmp_path / "good", application, known)]) == 0
    said = capsys.readouterr().out
    assert "reached" in said and "missed" not in said and "not measured" not in said
    name, value = WRONG[application]
    assert targets.main([written(tmp_path / "bad", application, known | {name: value})]) == 1
    missed = [line for line in capsys.readouterr().out.splitlines() if "missed" in line]
    assert len(missed) == 1 and f"{value:.4g}" in missed[0]
    rest = {key: each for key, each in known.items() if key != name}
    assert targets.main([written(tmp_path / "rest", application, rest)]) == 1
    assert "not measured" in capsys.readouterr().out


def test_data_without_a_target_are_said_to_have_none(tmp_path, capsys):
    folder = Path(written(tmp_path / "run", "flowmodels1", {}))
    tags = {"application": "flowmodels1", "data": "mine.csv", "preset": "default"}
    (folder / "about.json").write_text(json.dumps({"tags": tags}))
    assert targets.main([str(folder)]) == 0 and "no targets" in capsys.readouterr().out
