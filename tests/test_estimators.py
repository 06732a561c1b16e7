"""scikit-learn's interface: its own checks, its tools around ours, and right values."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import flow_models as fm
from flow_models.bijectors.refined import Refined
from flow_models.diagnostics import stacking

SMALL = {"depth": 1, "hidden": (8,), "bins": 4, "jit": False, "random_state": 0}
COVARIANCE = np.array([[4.0, 1.8], [1.8, 1.0]])
ENTROPY = 1 + np.log(2 * np.pi) + 0.5 * np.log(np.linalg.det(COVARIANCE))


@parametrize_with_checks([fm.FlowClassifier(steps=60, **SMALL)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [fm.FlowDensity(steps=20, **SMALL), fm.FlowOutlierDetector(steps=20, **SMALL)]
)
def test_scikit_learns_own_checks_of_a_density(estimator, check):
    check(estimator)


def rows(n, seed=0):
    return np.random.default_rng(seed).multivariate_normal([3.0, -1.0], COVARIANCE, n)


@pytest.fixture(scope="module")
def density():
    return fm.FlowDensity(steps=300, depth=2, hidden=(16,), random_state=0).fit(
        pd.DataFrame(rows(4000), columns=["east", "north"])
    )


def test_a_gaussian_has_its_entropy_and_its_moments(density):
    fresh = pd.DataFrame(rows(20_000, 1), columns=["east", "north"])
    assert -density.score(fresh) == pytest.approx(ENTROPY, abs=0.05)
    drawn = density.sample(20_000, random_state=1)
    np.testing.assert_allclose(np.cov(drawn.T), COVARIANCE, atol=0.3)
    assert (density.sample(5) == density.sample(5)).all()


def test_latents_are_normal_and_come_back(density):
    fresh = pd.DataFrame(rows(5000, 2), columns=["east", "north"])
    latents = density.transform(fresh)
    np.testing.assert_allclose(np.cov(latents.T), np.eye(2), atol=0.1)
    np.testing.assert_allclose(density.inverse_transform(latents), fresh, atol=1e-3)


def test_pickled_density_is_the_same_and_keeps_its_names(density):
    copy = pickle.loads(pickle.dumps(density))
    fresh = pd.DataFrame(rows(50, 3), columns=["east", "north"])
    np.testing.assert_array_equal(copy.score_samples(fresh), density.score_samples(fresh))
    assert list(copy.feature_names_in_) == ["east", "north"] == copy.model_.columns
    with pytest.raises(ValueError, match="feature names"):
        copy.score_samples(fresh[["north", "east"]])


def test_parameters_are_those_of_the_signature():
    names = set(fm.FlowDensity().get_params())
    assert set(fm.FlowOutlierDetector().get_params()) == names | {"contamination"}
    assert set(fm.FlowClassifier().get_params()) == names and len(names) == 12
    assert (
        repr(fm.FlowOutlierDetector(contamination=0.2)) == "FlowOutlierDetector(contamination=0.2)"
    )
    with pytest.raises(TypeError):
        fm.FlowDensity("maf")


def test_pandas_output_has_names_index_and_the_latents(density):
    fresh = pd.DataFrame(rows(20, 5), columns=["east", "north"], index=range(100, 120))
    plain = density.transform(fresh)
    found = pickle.loads(pickle.dumps(density)).set_output(transform="pandas").transform(fresh)
    assert list(found.columns) == ["flowdensity0", "flowdensity1"]
    assert (found.index == fresh.index).all()
    np.testing.assert_array_equal(found.to_numpy(), plain)


TRAINED = {**SMALL, "hidden": (16,), "steps": 300}


def test_cross_validation_in_a_pipeline_gives_the_entropy_of_the_scaled_rows():
    scaled = make_pipeline(StandardScaler(), fm.FlowDensity(**TRAINED))
    scores = cross_val_score(scaled, rows(3000), cv=2)
    expected = -ENTROPY + np.log(np.sqrt(np.diag(COVARIANCE))).sum()
    np.testing.assert_allclose(scores, expected, atol=0.15)


def test_a_search_takes_the_flow_that_describes_held_out_rows_best():
    search = GridSearchCV(fm.FlowDensity(**TRAINED), {"steps": [1, 300]}, cv=2).fit(rows(3000))
    assert search.best_params_ == {"steps": 300}
    assert search.best_score_ == pytest.approx(-ENTROPY, abs=0.15)
    worst = search.cv_results_["mean_test_score"].min()
    assert worst < -ENTROPY - 0.3, "one step has not learned the correlation"


def test_a_pipeline_classifies_by_latents():
    X, y = load_iris(return_X_y=True, as_frame=True)
    small = fm.FlowDensity(steps=60, **SMALL)
    both = make_pipeline(StandardScaler(), small, RandomForestClassifier(random_state=0))
    assert cross_val_score(both, X, y, cv=3).mean() > 0.8


def test_the_classifier_knows_irises_by_name():
    X, y = load_iris(return_X_y=True, as_frame=True)
    species = load_iris().target_names[y]
    classifier = fm.FlowClassifier(steps=150, **SMALL)
    accuracy = cross_val_score(classifier, X, species, cv=3)
    assert accuracy.mean() >= 0.94
    probabilities = classifier.fit(X, species).predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert set(classifier.predict(X)) == {"setosa", "versicolor", "virginica"}


def test_far_rows_are_outliers_and_a_share_of_the_training_rows_is():
    detector = fm.FlowOutlierDetector(contamination=0.05, steps=100, **SMALL).fit(rows(1000))
    assert np.mean(detector.predict(rows(1000)) == -1) == pytest.approx(0.05, abs=0.002)
    far = rows(200, 4) + 30
    assert (detector.predict(far) == -1).all() and (detector.decision_function(far) < 0).all()


def test_few_rows_start_at_a_mixture_unless_the_network_is_given(monkeypatch):
    monkeypatch.setattr(stacking, "BANDWIDTHS", np.array([0.3]))
    monkeypatch.setattr(stacking, "COMPONENTS", (1, 2))
    monkeypatch.setattr(stacking, "SETTINGS", (("full", 0.01),))
    X = np.concatenate([rows(40), rows(40, 1) + [20, 0]])
    detector = fm.FlowOutlierDetector(steps=2, jit=False, random_state=0).fit(X)
    assert isinstance(detector.model_.layer, Refined)
    gaussian = multivariate_normal(X.mean(0), np.cov(X.T)).logpdf(X).mean()
    found = detector.score_samples(X)
    assert found.mean() > gaussian + 0.3 and np.mean(detector.predict(X) == -1) == 0.1
    np.testing.assert_allclose(pickle.loads(pickle.dumps(detector)).score_samples(X), found)
    chosen = fm.FlowDensity(steps=1, depth=1, jit=False, random_state=0).fit(X)
    assert not isinstance(chosen.model_.layer, Refined)


def test_copies_of_a_row_are_all_watched_or_all_trained_on():
    held = fm.FlowDensity()._held_out(np.repeat(rows(50), 4, 0), 0).reshape(50, 4)
    assert (held.all(1) == held.any(1)).all() and held.sum() == 20
    same = fm.FlowDensity()._held_out(np.ones((30, 2)), 0)
    assert same.sum() == 3, "a frequent row is no copy"


@pytest.mark.parametrize(
    "estimator, what",
    [
        (fm.FlowOutlierDetector(contamination=0.7), "contamination is 0.7"),
        (fm.FlowDensity(validation_fraction=1.0), "validation_fraction is 1.0"),
        (fm.FlowDensity(architecture="nope"), "no architecture 'nope'"),
        (fm.FlowDensity(learning_rate=-1), "learning_rate is -1"),
    ],
)
def test_wrong_parameters_say_so(estimator, what):
    with pytest.raises(fm.UserError, match=what):
        estimator.fit(rows(100))


def test_infinite_cells_and_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="contains infinity|contains NaN"):
        fm.FlowDensity().fit([[np.inf, 1.0]] * 10)
    with pytest.raises(ValueError, match="minimum of 5"):
        fm.FlowDensity().fit(rows(3))
