"""Pictures are changed as the density says: holes have their conditional law, latents move along
attributes, and strange pictures become usual."""

import numpy as np
import pytest
import tensorflow as tf
from command_models import moved, pictures
from PIL import Image

import flow_models as fm
from flow_models.__main__ import main
from flow_models.bijectors.layer import leaves
from flow_models.core.errors import UserError
from flow_models.models import detector, editing, inpainting

RNG = np.random.default_rng(0)
PIXELS = fm.Pixels(4, 4, 1, bits=8, multiple=2)


@pytest.fixture(scope="module")
def linear():
    """A model of 4x4 pictures that is a Gaussian: its layers mix channels and shift, its couplings
    are the identity. Also the mean [16] and covariance of its levels."""
    flow = fm.glow_image((4, 4, 1), levels=1, depth=1, hidden=(4,), bits=8)
    model = fm.Model(flow, codecs={"x": PIXELS}, jit=False)
    base = 120 + 15 * RNG.normal(size=(200, 1, 1, 1)) + 8 * RNG.normal(size=(200, 4, 4, 1))
    images = np.clip(base, 0, 255).astype(np.uint8)
    fm.fit(model, images, settings=fm.FitSettings(steps=1, batch_size=8, jit=False, seed=1))
    for name, variable in leaves(model.weights).items():
        if variable.trainable:
            of_coupling = name.rpartition("/")[2][0] in "wb"
            change = -variable if of_coupling else 0.2 * RNG.normal(size=variable.shape)
            variable.assign_add(tf.cast(change, variable.dtype))
    z = np.concatenate([np.zeros((1, 16)), np.eye(16), np.ones((1, 16))]).astype("f")
    x = model.decode(z).reshape(18, 16).astype(float)
    matrix = x[1:17] - x[0]  # x = mean + z matrix
    np.testing.assert_allclose(x[17], x[0] + matrix.sum(0), rtol=1e-3, atol=0.1)
    return model, x[0], matrix.T @ matrix


def test_a_hole_has_the_conditional_law_of_a_gaussian(linear):
    model, mean, covariance = linear
    picture = model.sample(1, seed=4)
    hole = np.zeros((4, 4), bool)
    hole[1:3, :2] = True
    draws = inpainting.inpainted(model, picture, hole, draws=300, steps=150, seed=2)[0]
    known = draws[:, ~hole]
    assert (known == picture[0][~hole]).all()
    h, k = np.flatnonzero(hole), np.flatnonzero(~hole)
    noise = covariance[np.ix_(k, k)] + np.eye(len(k)) / 12
    gain = covariance[np.ix_(h, k)] @ np.linalg.inv(noise)
    seen = picture.reshape(16)[k] + 0.5
    expected = mean[h] + gain @ (seen - mean[k])
    spread = covariance[np.ix_(h, h)] - gain @ covariance[np.ix_(k, h)]
    found = draws[:, hole][..., 0] + 0.5
    sd = np.sqrt(np.diag(spread))
    assert sd.max() < 0.9 * np.sqrt(np.diag(covariance)[h]).max()  # the rest says something
    np.testing.assert_allclose(found.mean(0), expected, atol=5 * sd.max() / 300**0.5)
    np.testing.assert_allclose(found.std(0), sd, rtol=0.25)


def test_a_picture_is_projected_as_far_as_needed_and_no_farther(linear):
    model, _, _ = linear
    usual = float(-np.median(model.log_prob(model.sample(100, seed=9))))
    z = np.stack([2.0 * RNG.normal(size=16), 0.1 * RNG.normal(size=16)])
    images = model.codec.samples(model.decode(z))
    found = editing.projected(model, images, usual)
    assert 0 < found.shrinkage[0] < 1 == found.shrinkage[1]
    np.testing.assert_array_equal(found.images[1], images[1])
    assert found.after[0] <= usual < found.before[0]
    # -log p of a Gaussian falls with the square of the factor; the norm of usual latents is 4
    norm = np.linalg.norm(model.encode(images[:1])[0])
    assert found.shrinkage[0] * norm < 4.6 and (found.shrinkage[0] + 0.05) * norm > 3.4


def test_latents_move_along_an_attribute_and_back(linear):
    model, _, _ = linear
    dark = model.sample(100, seed=1)
    dark = dark[((dark > 45) & (dark < 210)).all((1, 2, 3))]
    direction = editing.attribute(model, dark, dark + 40)
    change = editing.along(model, dark, direction, [0.0, 1.0, -1.0]).astype(int) - dark[:, None]
    for number, expected in enumerate((0, 40, -40)):
        assert abs(change[:, number] - expected).max() <= 4


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Folders of models of pictures, without and with classes, and of rows; and of pictures."""
    root = tmp_path_factory.mktemp("kinds")
    rows = fm.Model(fm.realnvp(2, depth=1, hidden=(4,)), jit=False)
    found = {"rows": rows} | {name: moved(model) for name, (model, _) in pictures().items()}
    for name, model in found.items():
        model.save(str(root / name / "model"))
    for name, level in (("night", 20), ("snow", 230)):
        values = RNG.integers(level - 20, level + 20, (16, 16, 3)).astype(np.uint8)
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(values).save(root / "photos" / f"{name}.png")
    return root


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Commands load models that run at once; what they do is the same."""
    load = detector.load
    monkeypatch.setattr(fm, "load", lambda place: load(place, jit=False))


def edit(kinds, name, photo, *flags):
    """Runs the command."""
    place = kinds / "photos" / photo
    main([str(each) for each in ["edit", kinds / name, place, *flags]])


PLACES = {
    "--box": ("1,1,9,2", "does not lie within 8 rows, 8 columns"),
    "--box ": ("1,1,2", "four whole numbers"),
    "--class": ("cow", "has no class 'cow'"),
    "--folder": (__file__, "is a file, not a folder"),
    "-n": ("0", "must be at least 1"),
    "--inpaint": ("nowhere.png", "nowhere.png"),
    "--box  ": ("", "four whole numbers"),
    "--inpaint ": ("", "--inpaint is empty"),
    "--strengths": ("a,b", "must be numbers"),
    "--strengths ": ("0,nan", "must be numbers"),
}


@pytest.mark.parametrize("flag", PLACES)
def test_what_cannot_be_done_is_said_in_one_line(kinds, flag, capsys):
    value, message = PLACES[flag]
    way = [] if flag.strip() in ("--box", "--inpaint") else ["--project"]
    with pytest.raises(UserError, match=message):
        edit(kinds, "class pictures", "night.png", *way, flag.strip(), value)
    assert not capsys.readouterr().out  # nothing is edited before


def test_only_pictures_are_edited_and_one_level_has_no_details(kinds):
    with pytest.raises(UserError, match="by a model of their pixels"):
        edit(kinds, "rows", "night.png", "--project")
    Image.new("L", (8, 16), 255).save(kinds / "mask.png")
    with pytest.raises(UserError, match=r"16x8 pixels .* of the model's, 8x8"):
        edit(kinds, "pictures", "night.png", "--inpaint", kinds / "mask.png")
    with pytest.raises(UserError, match="1 levels are to be drawn; the model has 1"):
        edit(kinds, "pictures", "night.png", "--super-resolve")


@pytest.mark.parametrize(
    "name", [pytest.param("pictures", marks=pytest.mark.slow), "class pictures"]
)
def test_each_way_writes_its_figure_and_its_pictures(kinds, name, tmp_path):
    ends = [kinds / "photos" / f"{end}.png" for end in ("night", "snow")]
    mask = np.zeros((8, 8), np.uint8)
    mask[:3] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    drawn = ["-n", "2", "--steps", "3"]
    ways = {
        "box": (["--box", "0,0,3,8", *drawn], 2),
        "mask": (["--inpaint", tmp_path / "mask.png", *drawn], 2),
        "project": (["--project"], 1),
        "attribute": (["--attribute", *ends, "--strengths=0,1"], 2),
    }
    shown = {}
    for way, (flags, count) in ways.items():
        out = tmp_path / way
        places = ["--png", tmp_path / f"{way}.png", "--folder", out]
        edit(kinds, name, "", *flags, *places)
        names = sorted(path.name for path in out.iterdir())
        assert len(names) == 2 * count and names[0].startswith("001_night")
        shown[way] = np.stack([np.asarray(Image.open(out / each)) for each in names])
        assert Image.open(tmp_path / f"{way}.png").width > 300
    np.testing.assert_array_equal(shown["box"], shown["mask"])  # the same hole and seed
    codec = fm.Pixels(8, 8, 1, bits=3, multiple=2)
    (_, photos), *_ = codec.read(str(kinds / "photos"))
    levels = codec.samples(codec.encode(photos, np.float32).rows)
    for draw in (0, 1):
        np.testing.assert_array_equal(shown["box"][draw::2, 3:], levels[:, 3:, :, 0])
    np.testing.assert_array_equal(shown["attribute"][::2], levels[..., 0])  # strength 0


@pytest.mark.slow
def test_coarse_latents_stay_where_details_are_drawn():
    flow = fm.glow_image((8, 8, 1), levels=2, depth=1, hidden=(4,), bits=8)
    model = fm.Model(flow, codecs={"x": fm.Pixels(8, 8, 1, bits=8, multiple=4)}, jit=False)
    pictures = (120 + 12 * RNG.normal(size=(60, 8, 8, 1))).astype(np.uint8)
    fm.fit(model, pictures, settings=fm.FitSettings(steps=1, batch_size=8, jit=False))
    found = editing.redrawn(model, pictures[:2], 3, seed=1)
    assert found.shape == (2, 3, 8, 8, 1)
    error = abs(model.encode(found) - model.encode(pictures[:2])[:, None])
    assert error[..., :32].mean() < 0.15 < 0.7 < error[..., 32:].mean()
