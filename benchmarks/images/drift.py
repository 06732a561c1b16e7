"""Accuracy of training by inversion, as a table: our worker alone, one depth after the other."""

import tempfile

from flows.plan import RATE, Results
from flows.worker import Worker

from images.plan import PROBLEMS, Plan, spec

TRAINED = RATE | {"learning_rate": 2e-4}


def drift(plan: Plan, results: Results) -> list[dict]:
    """Rows of `inversion.measure`, each with its depth."""
    rows = []
    for depth in plan.drift_depths:
        results.progress(f"  drift at {depth} steps a level")
        with tempfile.TemporaryDirectory() as cache:
            with Worker("ours", "reversible", plan.folder, cache, "images", plan.cores) as worker:
                with results.survive({worker: None}, worker):
                    worker.ask("load", images=PROBLEMS["glow_32"]["images"])
                    results.about(worker)
                    wanted = spec("glow_32", worker, depth=depth, recipe=TRAINED)
                    found = worker.ask("drift", spec=wanted, steps=list(plan.drift_steps))["rows"]
                    rows += [{"depth": depth, **row} for row in found]
    return rows
