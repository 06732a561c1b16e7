"""The page: every table, an explanation of its numbers, and the command that measures it."""

import math

import numpy as np
from flows.plan import median
from flows.table import row

from images.plan import FORMS, PROBLEMS

TITLES = {
    "glow_32": "Glow 32x32x3, batch 32, K = 8, L = 3, hidden 128",
    "glow_64": "Glow 64x64x3, batch 16, K = 8, L = 3, hidden 128",
    "flat_28": "flat Real NVP, 784 dimensions, batch 128, 8 couplings, hidden 2 x 512",
}
DEEP = "glow_32_depth_"
ERRORS = ("round_trip", "inversion", "plain", "inversion_worst", "plain_worst")


def markdown(result: dict) -> str:
    """The whole page; sections that were not measured are left out."""
    sections = [
        _heading(result),
        _speed(result),
        _first(result),
        _memory(result),
        _drift(result),
        _quality(result),
    ]
    failed = "\n".join(f"- Failed: {failure}" for failure in result["failures"])
    return "\n\n".join(section.rstrip() for section in [*sections, failed] if section) + "\n"


def values(result: dict, quantity: str, problem: str) -> dict[tuple[str, str], float]:
    """Medians by (library, form), in the order of FORMS."""
    found = {
        (e["library"], e["form"]): median(e["values"])
        for e in result["measurements"]
        if (e["quantity"], e["model"]) == (quantity, problem)
    }
    return {form: found[form] for form in FORMS if form in found}


def gain(by_form: dict[tuple[str, str], float], form: tuple[str, str]) -> float | None:
    """The best of normflows over this form of ours, above 1 if ours is better; None without
    both."""
    peers = [
        value for (library, _), value in by_form.items() if library != "ours" and value is not None
    ]
    ours = by_form[form]
    return min(peers) / ours if peers and ours and form[0] == "ours" else None


def compare(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Bits per dimension of the same images: means with standard errors, and the paired difference,
    ours minus theirs."""
    a, b = np.asarray(ours), np.asarray(theirs)
    names = {"ours": a, "theirs": b, "difference": a - b}
    found = {name: float(np.mean(each)) for name, each in names.items()}
    found |= {
        f"{name}_error": float(np.std(each, ddof=1) / math.sqrt(len(each)))
        for name, each in names.items()
    }
    return found | {"lower_by": -found["difference"] / found["theirs"]}


def _heading(result):
    machine, threads = result["machine"], result["threads"]
    versions = sorted(
        {
            f"{name} {number}"
            for facts in result["facts"].values()
            for name, number in facts.get("versions", {}).items()
        }
    )
    cores = (
        f"{threads} core of {machine['cores']}"
        if threads == 1
        else f"{threads or machine['cores']} cores"
    )
    return f"""# Image flows: beside normflows

    {result["command"]}

{result["date"]}, {result["minutes"]:.0f} minutes; {machine["cpu"]}, {cores} for each process and
the libraries' own numbers of threads, {machine["memory_gb"]:.0f} GB, load {machine["load"]:.1f}
before the start and {machine["load_after"]:.1f} at the end (the benchmark makes about 1 or 2 of
it); {", ".join(versions)}.

Each library runs in its own process and they train in turns, so that all see the same machine;
values are medians over the turns. Both have affine couplings with networks of 3x3, 1x1, 3x3
convolutions, LU 1x1 convolutions, data-dependent actnorm, uniform dequantisation, float32 and Adam.
Our forms: `default` is what a user gets, `unrolled` has no loop and runs parts of a batch on
different cores, `plain` is a compiled loop differentiated as usual, `reversible` trains by
inversion. Forms of normflows: `eager`, and `channels_last` memory format."""


def _speed(result):
    lines = []
    for problem in TITLES:
        by_form = values(result, "step", problem)
        for form, seconds in by_form.items():
            low, high = _ends(result, "step", problem, form)
            lines.append(
                [
                    TITLES[problem] if form == next(iter(by_form)) else "",
                    *form,
                    _number(seconds),
                    f"{_number(low)} to {_number(high)}",
                    _ratio(gain(by_form, form)),
                    _count(result, form, problem),
                    *_memories(result, problem, form),
                ]
            )
    header = [
        "",
        "library",
        "form",
        "s a step",
        "range",
        "normflows / ours",
        "parameters",
        "MB, training",
        "MB, highest",
    ]
    text = (
        f"{_turns(result)} `normflows / ours`: the fastest form of normflows over the form of the"
        " row. Memory: see below."
    )
    return _section("Step time", "speed", text, header, lines, left=3)


def _first(result):
    lines = []
    for problem in TITLES:
        by_form = values(result, "first_step", problem)
        lines += [
            [
                TITLES[problem] if form == next(iter(by_form)) else "",
                *form,
                _number(seconds),
                _ratio(gain(by_form, form)),
            ]
            for form, seconds in by_form.items()
        ]
    return _section(
        "Time to first step",
        "first",
        """Seconds from the start of a fresh process to the end of its first training step:
import, reading the images, building, compiling. Nothing is cached between processes.""",
        ["", "library", "form", "s", "normflows / ours"],
        lines,
        left=3,
    )


def _memory(result):
    lines = []
    problems = dict.fromkeys(
        e["model"] for e in result["measurements"] if e["model"].startswith(DEEP)
    )
    for problem in problems:
        steps, starts = values(result, "step", problem), values(result, "start", problem)
        depth = problem.removeprefix(DEEP)
        lines += [
            [
                depth if form == next(iter(steps)) else "",
                *form,
                _number(seconds),
                _ratio(gain(steps, form)),
                *_memories(result, problem, form),
                _number(starts.get(form)),
                _count(result, form, problem),
            ]
            for form, seconds in steps.items()
        ]
    return _section(
        "Memory and step time against depth",
        "memory",
        f"""Glow 32x32x3, batch 32, K steps a level.
{_turns(result)} Memory is resident memory of a process, as the kernel counts it, minus that with
the library imported and the images loaded, right before the model is built. `training` is the
highest value in the steps after the first: model, optimizer, compiled program, remains of the
compilation, and the working memory of a step. `highest` is the highest of all, compilation
included. Free memory was returned before the steps. `start` is the first training call,
compilation included.""",
        [
            "K",
            "library",
            "form",
            "s a step",
            "normflows / ours",
            "MB, training",
            "MB, highest",
            "start, s",
            "parameters",
        ],
        lines,
        left=3,
    )


def _drift(result):
    lines = [
        [str(each["depth"]), str(each["steps"]), *[f"{each[name]:.1e}" for name in ERRORS]]
        for each in result.get("drift", ())
    ]
    return _section(
        "Accuracy of training by inversion",
        "drift",
        """Ours, Glow 32x32x3, batch 32, after steps of Adam at a rate of 0.0002 by inversion.
`round trip` is the largest |f^-1(f(x)) - x| of a batch, in levels of 256. Gradients are those of
the same weights in float32, by inversion and as usual, against the usual one in float64: relative
error in the Euclidean norm, of all weights together and of the worst single tensor.""",
        ["K", "steps", "round trip", "inversion", "usual", "inversion, worst", "usual, worst"],
        lines,
        left=2,
    )


def _quality(result):
    found = result.get("quality")
    if not found:
        return ""
    plan, counts, by_seed = result["plan"], result["images"]["counts"], {}
    for run in found["finals"]:
        by_seed.setdefault(run["seed"], {})[run["library"]] = run
    lines = [line for seed, runs in by_seed.items() if len(runs) == 2 for line in _seed(seed, runs)]
    sizes, fair = PROBLEMS["silhouettes"], "within 2%" if found["fair"] else "NOT within 2%"
    text = f"""{result["images"]["source"]}; {counts["train"]:,} images for training,
{counts["validation"]:,} for the choice of the rate, {counts["test"]:,} for the test. Glow,
L = {sizes["levels"]}, K = {sizes["depth"]}, hidden {sizes["hidden"][0]}, batch {sizes["batch"]},
for both; numbers of parameters {fair}. {plan["budget"]:.0f} seconds of training each, in turns,
with compilation. Adam with warm-up, cosine to 0 over the steps that fit into the time, clipping by
global norm and averaged weights in both. -log2 p of dequantised levels over 784, with the same
noise for both; +- is the standard error over the test images, for the difference that of the
paired differences.

Rates were chosen from the same list by bits per dimension of the validation images after
{plan["trial"]:.0f} s each:

{_rates(found)}"""
    return _section(
        "Bits per dimension at equal wall-clock time",
        "quality",
        text,
        ["seed", "library", "rate", "bits/dim", "steps", "s", "of them start", "parameters"],
        lines,
        left=2,
    )


def _seed(seed, runs):
    ours, theirs = runs["ours"], next(run for library, run in runs.items() if library != "ours")
    found = compare(ours["bits"], theirs["bits"])
    for name, run in (("ours", ours), ("theirs", theirs)):
        yield [
            str(seed),
            run["library"],
            f"{run['rate']:g}",
            f"{found[name]:.4f} +- {found[name + '_error']:.4f}",
            f"{run['steps']:,}",
            f"{run['seconds']:.0f}",
            f"{run['start']:.0f}",
            f"{run['parameters']:,}",
        ]
    difference = f"{found['difference']:.4f} +- {found['difference_error']:.4f}"
    yield ["", f"ours lower by {found['lower_by']:.1%}", "", difference, "", "", "", ""]


def _rates(found):
    rates = list(dict.fromkeys(rate for each in found["trials"].values() for rate in each))
    lines = [row(["", *rates, "chosen"]), row(["---"] + ["---:"] * (len(rates) + 1))]
    for name, each in found["trials"].items():
        chosen = found["chosen"].get(name, "none")
        lines.append(row([name, *[_bits(each.get(rate)) for rate in rates], str(chosen)]))
    return "\n".join(lines)


def _bits(value):
    return f"{value:.4f}" if value is not None and math.isfinite(value) else "diverged"


def _section(title, name, text, header, lines, left):
    """Heading, command, explanation and table; nothing without lines."""
    if not lines:
        return ""
    rule = row(["---"] * left + ["---:"] * (len(header) - left))
    table = "\n".join([row(header), rule, *[row(line) for line in lines]])
    return f'## {title}\n\n    make bench-images ARGS="--sections {name}"\n\n{text}\n\n{table}'


def _turns(result):
    return f"Medians over {result['plan']['rounds']} turns of at least one step."


def _memories(result, problem, form):
    return [
        _whole(values(result, name, problem).get(form))
        for name in ("memory_train", "memory_highest")
    ]


def _ends(result, quantity, problem, form):
    found = next(
        e["values"]
        for e in result["measurements"]
        if (e["quantity"], e["model"], e["library"], e["form"]) == (quantity, problem, *form)
    )
    return min(found), max(found)


def _count(result, form, problem):
    count = result["facts"].get(form[0], {}).get("parameters", {}).get(problem)
    return "" if count is None else f"{count:,}"


def _whole(value):
    return "" if value is None else f"{value:,.0f}"


def _number(value):
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _ratio(value):
    return "" if value is None else f"{value:.2f}"
