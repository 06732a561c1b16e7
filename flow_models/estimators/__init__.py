"""scikit-learn's interface to flows: estimators that stand on `fit` and go into pipelines."""
