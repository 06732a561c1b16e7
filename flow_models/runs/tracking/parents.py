"""The run above the runs of a sweep: found by its key, made by whoever comes first, however many
come at once.

PARENT_VARIABLE holds "<key> <name>" for every run that belongs below. The key, a tag of the run
above, is unique to
the sweep: the id of an array job, or one made up; the name is what people see.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

PARENT_VARIABLE = "FLOW_MODELS_PARENT"
KEY, ABOVE = "flow_models.sweep", "mlflow.parentRunId"
SETTLED, OLD = (
    2.0,
    60.0,
)  # seconds that what is found must stay the same, and after which a run is no news


def find_or_make(client, experiment: str, parent: str, tags: Mapping[str, str]) -> str:
    """The id of the run above.

    MLflow makes two runs for two who ask at once. So all look until they see the same runs for
    SETTLED seconds, all take the first of them, and who has made another one removes it.
    """
    key, _, name = parent.partition(" ")
    mine, seen, since = None, None, 0.0
    while True:
        found = _found(client, experiment, key)
        if not found:
            mine = client.create_run(experiment, run_name=name or key, tags={**tags, KEY: key}).info
            continue
        if found != seen:
            seen, since = found, time.monotonic()
        if (
            time.time() - max(start for start, _ in found) / 1000 > OLD
            or time.monotonic() - since >= SETTLED
        ):
            break
        time.sleep(SETTLED / 8)
    first = found[0][1]
    if mine is not None and mine.run_id != first:
        client.delete_run(mine.run_id)
    return first


def _found(client, experiment: str, key: str) -> list[tuple[int, str]]:
    """(start, id) of the active runs with this key, the first one first."""
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
    return sorted((run.info.start_time, run.info.run_id) for run in runs)


def publish(
    uri: str,
    experiment: str,
    parent: str,
    metrics: Mapping[str, float],
    settings: Mapping[str, object],
    files: Iterable[Path],
    status: str,
) -> str:
    """Puts what is known of a sweep into the run above, and gives it a status: RUNNING, FINISHED or
    KILLED; its id.

    Raises what MLflow raises.
    """
    from flow_models.runs.tracking.store import Store

    store = Store(Path(), experiment, None, uri)
    run_id = find_or_make(store.client, store.experiment_id(), parent, store.tags())
    known = store.client.get_run(run_id).data.params
    for name, value in settings.items():
        if name not in known:
            store.client.log_param(run_id, name, str(value)[:6000])
    for name, value in metrics.items():
        store.client.log_metric(run_id, name, value)
    for file in files:
        store.client.log_artifact(run_id, str(file))
    if status == "RUNNING":
        store.client.update_run(run_id, status=status)
    else:
        store.client.set_terminated(run_id, status)
    return run_id
