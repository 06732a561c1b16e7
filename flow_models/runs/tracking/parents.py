"""The run above the runs of a sweep: found by its key, or created by whichever run comes first.

PARENT_VARIABLE holds "<key> <name>" for every run that belongs below. The key, a tag of the run
above, is unique to the sweep: the id of an array job, or a random one. The name is for people.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from flow_models.runs.tracking.about import NOTE
from flow_models.runs.tracking.client import connect, experiment_id, origin_tags

PARENT_VARIABLE = "FLOW_MODELS_PARENT"
KEY, ABOVE = "flow_models.sweep", "mlflow.parentRunId"
SETTLING = 2.0  # seconds within which runs that start together see each other's parents
OLD = 60.0  # seconds after which a parent is settled


def find_or_make(client, experiment: str, parent: str, tags: Mapping[str, str]) -> str:
    """The id of the run above.

    Runs that start together may each create one, as MLflow has no unique keys. So they wait
    until all of these can be seen, agree on the first, and whoever created another one deletes it.
    """
    key, _, name = parent.partition(" ")
    mine, found = None, _with_key(client, experiment, key)
    if not found:
        mine = client.create_run(experiment, run_name=name or key, tags={**tags, KEY: key}).info
    if mine or time.time() - found[-1].start_time / 1000 < OLD:
        time.sleep(SETTLING)
        found = _with_key(client, experiment, key)
    first = found[0].run_id
    if mine and mine.run_id != first:
        client.delete_run(mine.run_id)
    return first


def _with_key(client, experiment: str, key: str) -> list:
    """The active runs with this key, in the order of their start."""
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
    return sorted((run.info for run in runs), key=lambda info: (info.start_time, info.run_id))


def publish(
    uri: str,
    experiment: str,
    parent: str,
    metrics: Mapping[str, float],
    settings: Mapping[str, object],
    files: Iterable[Path],
    status: str,
    note: str = "",
) -> str:
    """Puts what is known of a sweep into the run above, and returns its id.

    Args:
      status: RUNNING, FINISHED or KILLED.
      note: the description, Markdown.

    Raises what MLflow raises.
    """
    client = connect(uri)
    place = experiment_id(client, uri, experiment)
    run_id = find_or_make(client, place, parent, origin_tags())
    known = client.get_run(run_id).data.params
    for name in settings.keys() - known.keys():
        client.log_param(run_id, name, str(settings[name])[:6000])
    if note:
        client.set_tag(run_id, NOTE, note)
    for name, value in metrics.items():
        client.log_metric(run_id, name, value)
    for file in files:
        client.log_artifact(run_id, str(file))
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status)
    return run_id
