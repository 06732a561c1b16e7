"""The measured values as tables: medians, and ratios; a ratio above 1 favours this project."""

from collections.abc import Iterator

from flows.plan import GAPS, median
from flows.worker import MODULES, PYTORCH

MODELS = {
    "realnvp": "RealNVP, 8 couplings",
    "maf": "MAF, 3 layers",
    "spline": "spline coupling, 5 layers",
}
MAIN = ("unrolled", "preset")  # of our forms, the one in the first table
DEFAULT = (*MAIN, "scan", "eager")  # forms that the first table does not name
QUANTITIES = {  # name -> (label, unit, higher is better)
    "train_256": ("training, batch 256", "steps/s", True),
    "train_1024": ("training, batch 1,024", "steps/s", True),
    "log_prob": ("log_prob", "1,000 points/s", True),
    "sample": ("sample", "1,000 points/s", True),
    "first_step": ("process start to end of first step", "s", False),
    "memory_import": ("memory, library imported, points loaded", "MB", False),
    "memory_train": ("peak memory, training", "MB", False),
    "memory_evaluate": ("peak memory, log_prob and sample as well", "MB", False),
}
for _gap in GAPS:
    QUANTITIES[f"gap_{_gap:g}"] = (f"training until the gap is {_gap:g} nats", "s", False)
    QUANTITIES[f"gap_{_gap:g}_from_start"] = ("the same from process start", "s", False)


def cells(result: dict) -> Iterator[tuple[str, str, dict[str, tuple[str, float | None]]]]:
    """Rows of the first table: quantity, model, and library -> (form, median) of its best form; of
    ours the main one."""
    for model in MODELS:
        for quantity, (_, _, higher) in QUANTITIES.items():
            best: dict[str, tuple[str, float | None]] = {}
            for entry in result["measurements"]:
                if (entry["quantity"], entry["model"]) != (quantity, model):
                    continue
                library, form, value = entry["library"], entry["form"], median(entry["values"])
                if library == "ours" and form not in MAIN:
                    continue
                if library not in best or _better(value, best[library][1], higher):
                    best[library] = (form, value)
            if best:
                yield quantity, model, best


def ratio(best: dict[str, tuple[str, float | None]], higher: bool, libraries=None) -> float | None:
    """Ours against the best of `libraries` (default all others), above 1 if better; None without
    both."""
    ours = best.get("ours", (None, None))[1]
    peers = [
        value
        for name, (_, value) in best.items()
        if name in (libraries or MODULES) and name != "ours"
    ]
    peers = [value for value in peers if value is not None]
    if ours is None or not peers:
        return None
    return ours / max(peers) if higher else min(peers) / ours


def markdown(result: dict) -> str:
    """The whole page."""
    return (
        "\n\n".join(
            [_heading(result).rstrip(), _first_table(result), _notes(result), _forms(result)]
        )
        + "\n"
    )


def _better(value, other, higher):
    if value is None or other is None:
        return value is not None
    return value > other if higher else value < other


def _heading(result):
    libraries = {
        library: facts["versions"]
        for library, facts in result["facts"].items()
        if "versions" in facts
    }
    versions = ", ".join(
        sorted({f"{name} {number}" for each in libraries.values() for name, number in each.items()})
    )
    machine = result["machine"]
    return f"""# Flows: speed beside other libraries

    {result["command"]}

{result["date"]}, {result["minutes"]:.0f} minutes; {machine["cpu"]}, {machine["cores"]} cores,
{machine["memory_gb"]:.0f} GB, load {machine["load"]:.1f} before the start,
{machine["load_after"]:.1f} at the end (the benchmark makes about 1 of it); {versions}.

Medians. In every row a ratio above 1 says that ours is better. benchmarks/README.md says what each
library runs.
"""


def _first_table(result):
    libraries = [
        name for name in MODULES if any(e["library"] == name for e in result["measurements"])
    ]
    lines = [
        row(["", "", "unit", *libraries, "ours to best peer", "ours to best PyTorch"]),
        row(["---"] * 3 + ["---:"] * (len(libraries) + 2)),
    ]
    previous = None
    for quantity, model, best in cells(result):
        label, unit, higher = QUANTITIES[quantity]
        lines.append(
            row(
                [
                    MODELS[model] if model != previous else "",
                    label,
                    unit,
                    *[_cell(quantity, *best[name]) if name in best else "" for name in libraries],
                    _ratio(ratio(best, higher)),
                    _ratio(ratio(best, higher, PYTORCH)),
                ]
            )
        )
        previous = model
    return "\n".join(lines)


def _notes(result):
    lines = [_recipe(result["quality"])] if result.get("quality") else []
    parameters = {
        library: facts["parameters"]
        for library, facts in result["facts"].items()
        if "parameters" in facts
    }
    for model in MODELS:
        counts = {library: each[model] for library, each in parameters.items() if model in each}
        if counts:
            same = len(set(counts.values())) == 1
            what = f"{next(iter(counts.values())):,} in each" if same else str(counts)
            lines.append(f"Trainable numbers of the throughput rows, {MODELS[model]}: {what}.")
    lines += [f"Failed: {failure}" for failure in result["failures"]]
    return "\n".join(f"- {line}" for line in lines)


def _recipe(quality):
    recipe = quality["recipe"]
    rate = f"rate {recipe['learning_rate']:g} after {recipe['warmup']} steps of warm-up"
    return (
        f"Time to quality: splines of {quality['bins']} bins, networks {quality['hidden']}"
        f" {quality['activation']}, batch {quality['batch']}, Adam ({recipe['beta1']},"
        f" {recipe['beta2']}), {rate}, cosine to 0 over {recipe['steps']} steps, clip"
        f" {recipe['clip']:g}; {quality['seeds']} seeds, at most {quality['cap']:g} s. Compilation"
        f" counts, the looks at {quality['validation']:,} validation points every"
        f" {quality['every']} steps do not. Ours is application 1's default model with its averaged"
        " weights and its affine maps in front of the splines; its form plain, below, has neither,"
        " like the peers."
    )


def _forms(result):
    """All forms with their spread."""
    lines = [
        "## All forms",
        "",
        row(["", "", "unit", "library", "form", "median", "lowest", "highest", "values"]),
        row(["---"] * 5 + ["---:"] * 4),
    ]
    order = {name: i for i, name in enumerate(QUANTITIES)}
    for model in MODELS:
        entries = [entry for entry in result["measurements"] if entry["model"] == model]
        for entry in sorted(
            entries, key=lambda e: (order[e["quantity"]], list(MODULES).index(e["library"]))
        ):
            quantity, values = entry["quantity"], entry["values"]
            reached = [value for value in values if value is not None]
            ends = (
                [min(reached), max(reached) if len(reached) == len(values) else None]
                if reached
                else [None, None]
            )
            numbers = [_number(quantity, value) for value in (median(values), *ends)]
            names = [model, *QUANTITIES[quantity][:2], entry["library"], entry["form"]]
            lines.append(row([*names, *numbers, str(len(values))]))
    return "\n".join(lines)


def _cell(quantity, form, value):
    return _number(quantity, value) + ("" if form in DEFAULT else f" ({form})")


def _number(quantity, value):
    if value is None:
        return "not reached"
    if quantity in ("log_prob", "sample"):
        value = value / 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(value):
    return "" if value is None else f"{value:.2f}"


def row(texts):
    return "| " + " | ".join(texts) + " |"
