"""The explorer: what it computes, that every control changes the page, and who may see it."""

import asyncio
import contextlib
import sys
from io import BytesIO

import command_models
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flow_models as fm
from flow_models.__main__ import main
from flow_models.core.errors import FlowModelsWarning
from flow_models.diagnostics import strangest
from flow_models.explore import given, judged, latents, opened, posterior, server
from flow_models.models import detector
from flow_models.training.batches import as_batch
from flow_models.training.prepared import start

AppTest = pytest.importorskip("streamlit.testing.v1").AppTest
PORT = 8600


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """A saved model of each kind, by its name, and beside it the user's file of such events."""
    folder, found = tmp_path_factory.mktemp("explore"), {}
    made = command_models.densities() | command_models.classes() | command_models.pictures()
    photos = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    for name, (model, table) in (made | command_models.posteriors()).items():
        place = folder / name.replace(" ", "_")
        command_models.moved(model)
        if "pictures" in name:  # as wide as pictures are
            y = {"y": np.eye(2)[np.arange(40) % 2].astype(np.float32)} if model.classes else {}
            model.started = False
            start(model, as_batch({"x": photos, **y}, model))
        model.save(str(place / "model"))
        if table is not None:
            table.to_csv(place / "rows.csv", index=False)
        found[name] = str(place)
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Models run at once, on few events; what they do is the same."""
    monkeypatch.setattr(opened, "ROWS", 200)
    monkeypatch.setattr(opened, "PICTURES", 20)
    monkeypatch.setattr(posterior, "SIMULATED", 300)
    load = detector.load
    monkeypatch.setattr(fm, "load", lambda place: load(place, jit=False))
    monkeypatch.setattr(detector, "load", lambda place, jit: load(place, jit=False))


# who may see it


@pytest.mark.parametrize(
    "host, origin, answers",
    [
        (f"127.0.0.1:{PORT}", None, True),
        (f"localhost:{PORT}", f"http://localhost:{PORT}", True),
        (f"127.0.0.1:{PORT}", "http://example.com", False),
        (f"127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + 1}", False),
        (f"127.0.0.1:{PORT}", "null", False),
        (f"example.com:{PORT}", f"http://example.com:{PORT}", False),  # a name that leads here
        (None, None, False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_pages_of_other_origins_get_nothing(kind, host, origin, answers):
    sent, heard = [], []

    async def app(scope, receive, send):
        heard.append(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    headers = [(b"host", host and host.encode()), (b"origin", origin and origin.encode())]
    scope = {"type": kind, "headers": [pair for pair in headers if pair[1] is not None]}
    asyncio.run(server.SameOrigin(app, PORT)(scope, None, send))
    if kind == "websocket" and origin is None:
        answers = False  # browsers always say where a stream comes from
    assert bool(heard) == answers
    if answers:
        assert b"default-src 'self'" in dict(sent[0]["headers"])[b"content-security-policy"]
    else:
        assert sent[0].get("status", 403) == 403 and sent[0].get("code", 1008) == 1008


def test_a_port_of_loopback_alone():
    with contextlib.closing(server.bound(0)) as free:
        host, port = free.getsockname()
        assert host == "127.0.0.1" and port > 1023
        with pytest.raises(fm.UserError, match=f"port {port} cannot be used"):
            server.bound(port)


def test_mistakes_are_one_line(tmp_path, monkeypatch, places):
    with pytest.raises(fm.UserError, match="holds no model"):
        main(["explore", str(tmp_path)])
    with pytest.raises(fm.UserError, match="--port is 70000"):
        main(["explore", places["table"], "--port", "70000"])
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(fm.UserError, match="not installed: pip install streamlit"):
        main(["explore", places["table"]])


# what it computes


def test_sliders_lead_to_the_row_of_their_latents(places):
    found = opened.load(places["table"])
    assert found.kind == "rows" and "without its run" in found.note
    start, steps = np.array([0.5, -1.0]), latents.directions(found)
    rest = latents.at_rest(found, start, steps)
    np.testing.assert_allclose(latents.moved(start, steps, rest, rest)[0], start)
    z = latents.moved(start, steps, rest, [2.0, rest[1]])
    np.testing.assert_allclose(z, [[2.0, -1.0]])
    made = latents.made(found, z)
    np.testing.assert_allclose(made.to_numpy(), found.model.decode(z), rtol=1e-6)


def test_sliders_of_pictures_move_along_what_pictures_vary_by(places):
    found = opened.load(places["pictures"])
    steps = latents.directions(found)
    z = found.model.encode(found.known)
    spread = np.linalg.norm(steps, axis=1)
    along = (z - z.mean(0)) @ (steps / spread[:, None]).T
    np.testing.assert_allclose(along.std(0, ddof=1), spread, rtol=1e-3)
    assert (np.diff(spread) <= 0).all()


def test_a_row_lies_where_its_score_lies_among_the_known(places):
    found = opened.load(places["table"])
    far = np.array([[9.0, -9.0]], np.float32)
    mine = judged.judge(found, far)
    scores = found.held["nll"]
    assert mine.scores["nll"] == pytest.approx(float(found.model.anomaly_score(far)[0]))
    above = np.sum(scores >= mine.scores["nll"])
    assert mine.tails["nll"] == pytest.approx((1 + above) / (1 + len(scores)))
    np.testing.assert_allclose(
        judged.drivers(found, far), strangest.gains(found.model.log_prob, far, found.known)[0]
    )


def test_a_row_without_a_density_says_why(places):
    found = opened.load(places["bounded"])
    with pytest.warns(FlowModelsWarning):
        outside = judged.judge(found, np.array([[-10.0, 0.0]]))
    assert "below its lower bound" in outside.reason and outside.tails["nll"] < 0.02


def test_patches_that_make_a_picture_strange():
    known = np.zeros((2, 6, 5, 1), np.uint8)
    image = known[0].copy()
    image[4:, 3:] = 200
    log_prob = lambda x: -x.reshape(len(x), -1).astype(float).sum(1)
    gains = strangest.patch_gains(log_prob, image, known, 3)
    expected = np.zeros((3, 3))  # columns are in parts of 2, 2 and 1
    expected[2, 1:] = 400
    np.testing.assert_allclose(gains, expected)


def test_the_same_latents_in_each_class(places):
    found = opened.load(places["classes"])
    x = found.known[:1]
    made = latents.in_other_classes(found, x).to_numpy()
    best = int(found.model.classify(x)[0].argmax())
    np.testing.assert_allclose(made[best], x[0], atol=1e-4)
    assert np.abs(made[1 - best] - x[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["posterior", "own problem"])
def test_the_posterior_of_changed_data(places, name):
    found = opened.load(places[name])
    known = posterior.background(found)
    y = next(iter(known.observations.values()))
    mine = posterior.posterior(found, known, y, 200, 1.0, 3)
    np.testing.assert_allclose(mine.x, found.model.posterior(y, 200, seed=3), rtol=1e-5)
    assert mine.p_value is not None and mine.p_value > 0.001
    if name == "posterior":
        clean = found.model.simulator.forward(found.model.codec.encode(mine.x, np.float32).rows)
        np.testing.assert_allclose(mine.predicted, np.asarray(clean), rtol=1e-4, atol=1e-4)
    with pytest.warns(FlowModelsWarning, match="do not trust|farther out"):
        strange = posterior.posterior(found, known, y + 1e3, 200, 1.0, 3)
    assert strange.p_value < 0.01


def test_files_that_are_dropped_in(places):
    model = opened.load(places["kinds"]).model
    table = pd.read_csv(f"{places['kinds']}/rows.csv")
    values, errors = given.rows(model, "mine.csv", table.to_csv(index=False).encode())
    assert len(values) == len(table) and not any(errors)
    table.loc[1, "alarms"] = np.nan
    assert "alarms" in given.rows(model, "mine.csv", table.to_csv(index=False).encode())[1][1]
    with pytest.raises(fm.UserError, match="^mine.csv: no column"):
        given.rows(model, "mine.csv", table[["alarms"]].to_csv(index=False).encode())
    pictures = opened.load(places["pictures"]).model
    file = BytesIO()
    Image.fromarray(np.full((20, 20, 3), 130, np.uint8)).save(file, "PNG")
    assert given.pictures(pictures, "mine.png", file.getvalue()).shape == (1, 8, 8, 1)
    with pytest.raises(fm.UserError, match="mine.png"):
        given.pictures(pictures, "mine.png", b"no picture")


# the page, without a browser


def page(monkeypatch, place: str):
    """The page of a model as Streamlit runs it."""
    monkeypatch.setattr(sys, "argv", [str(server.PAGE), place])
    return sound(AppTest.from_file(server.PAGE, default_timeout=200).run())


def sound(at):
    assert not at.exception and not at.error, [*at.exception, *at.error]
    return at


def seen(at) -> list:
    """Figures by their content, numbers, tables and messages."""
    figures = [each.value for each in at.image]
    numbers = [(each.label, each.value) for each in at.metric]
    tables = [each.value.to_csv() for each in at.dataframe]
    return [figures, numbers, tables, [each.value for each in [*at.info, *at.warning]]]


def changed(at, control, value):
    """The page after a change of a control, which must show."""
    before = seen(at)
    sound(control.set_value(value).run())
    assert seen(at) != before, f"{control.label} changes nothing"
    return at


@pytest.mark.parametrize("name", ["table", "pictures"])
def test_a_slider_changes_what_is_made(monkeypatch, places, name):
    at = page(monkeypatch, places[name])
    changed(at, at.slider[0], 2.0)


def test_a_changed_datum_changes_the_posterior_and_strange_data_are_warned_of(monkeypatch, places):
    at = page(monkeypatch, places["posterior"])
    assert [each.label for each in at.metric] == ["simulated data at least as strange"]
    before, (table,) = seen(at), at.data_editor
    assert not at.warning and "Drawn anew in" in at.caption[-1].value
    at.session_state[table.key] = {"edited_rows": {0: {"value": 1e4}}, "added_rows": []}
    sound(at.run())
    assert seen(at) != before and "outside what the simulator makes" in at.warning[0].value
    changed(at, at.radio(key="view"), "Latents")
    changed(at, at.slider(key="z1"), 2.0)


def test_a_row_of_a_file_is_judged(monkeypatch, places):
    at = page(monkeypatch, places["table"])
    changed(at, at.radio(key="view"), "A row")
    changed(at, at.radio(key="one-from"), "a file of mine")
    file = "position,id,depth\n8.5,a,-9.0\n0.1,b,0.2\n"
    changed(at, at.file_uploader(key="one-file"), ("mine.csv", file.encode(), "text/csv"))
    score = -opened.load(places["table"]).model.log_prob(np.array([[-9.0, 8.5]], np.float32))[0]
    assert at.metric[0].value == f"{score:.4g}"
    at.file_uploader(key="one-file").set_value(("mine.csv", b"depth\n1\n", "text/csv")).run()
    assert [each.value for each in at.error] == [
        "mine.csv: no column 'position'; the model has depth, position: name all of them, or none"
    ]


OTHER = {  # of the value that a control has
    "slider": lambda each: each.max if each.value < each.max else each.min,
    "number_input": lambda each: each.value + 1,
    "selectbox": lambda each: each.options[(each.index + 1) % len(each.options)],
    "radio": lambda each: next(o for o in each.options if o != each.value),
}
EVERY = ("kinds", "missing", "classes", "joint classes", "pictures", "class pictures")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*EVERY, "posterior", "joint posterior", "own problem"])
def test_every_control_changes_the_page(monkeypatch, places, name):
    at = page(monkeypatch, places[name])
    for view in at.radio(key="view").options:
        sound(at.radio(key="view").set_value(view).run())
        assert at.image, f"{view} has no figure"
        keys = {kind: [each.key for each in getattr(at, kind)] for kind in OTHER}
        for kind, key in [(k, key) for k, found in keys.items() for key in found if key != "view"]:
            control = getattr(at, kind)(key=key)
            before = control.options[control.index] if kind == "selectbox" else control.value
            changed(at, control, OTHER[kind](control))
            if kind in ("selectbox", "radio"):
                sound(getattr(at, kind)(key=key).set_value(before).run())
