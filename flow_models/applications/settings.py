"""Groups of settings that several applications share. Loads nothing heavy."""

import dataclasses
import math
from typing import Literal

from flow_models.runs.config import flat, refuse, settings


@settings
class VectorNetwork:
    """The network of vectors."""

    architecture: str = "spline_coupling"
    """realnvp, spline_coupling, maf, iaf, glow, or another of doc/families.md"""
    depth: int = 0
    """layers; 0: as many as the architecture has by itself, 5 for spline_coupling"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the hidden layers of each conditioner"""
    activation: str = ""
    """relu, silu, tanh or gelu; empty: the architecture's own, relu for spline_coupling"""
    bins: int = 8
    """of the splines; maf and iaf with 0 are affine, as in their papers"""
    bound: float = 4.0
    """splines act on [-bound, bound], in standard deviations of the data"""
    affine: bool = True
    """spline_coupling: an affine coupling in front of each spline, for tails that bend"""
    linear: bool = False
    """spline_coupling: a learned linear layer in front of each coupling"""
    base: str = "normal"
    """density of the latents in front of the last layer: normal, or student_t for heavy tails;
    'student_t 3' has 3 degrees of freedom, student_t learns them"""
    layers_per_loop_body: int = 1
    """layers in the body of the compiled loop; 1 compiles fastest, 0 (no loop) runs fastest"""

    def __post_init__(self):
        refuse((not 0 < self.bound < math.inf, f"bound is {self.bound}; it must be above 0"))

    def options(self, **changed) -> dict:
        """What `architectures.build` takes; what is left to the architecture is left out."""
        options = {**dataclasses.asdict(self), **changed}
        own = {name for name in ("depth", "activation") if not options[name]}
        return {name: each for name, each in options.items() if name not in own}


@settings
class ImageNetwork:
    """The network of pictures."""

    bits: int = 0
    """of a pixel, 1 to 8; 0: 3, and 5 for your own pictures in colour or half-tones"""
    architecture: str = "glow"
    """glow, realnvp_image, hyperbolic_image, irim_image, tarflow, jet, or flat_realnvp (dense, for
    comparison)"""
    levels: int = 3
    """resolutions, each half the one before; 0: three, and two for pictures below 16 pixels;
    tarflow and jet: patches of 2^levels pixels"""
    depth: int = 8
    """steps at each resolution; tarflow: layers; jet: rounds of three couplings"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the convolutions of each coupling; tarflow and jet: a block of each transformer for
    each number, its width"""
    heads: int = 4
    """of the attention of tarflow and jet"""
    activation: str = "relu"
    """relu, silu, tanh or gelu"""
    squeeze: str = "space"
    """space, or haar (wavelets)"""
    multiscale: bool = True
    """half of the channels leave after each resolution"""
    mixing: str = "lu"
    """of the channels: lu, householder, shuffle, periodic or emerging (3x3 convolutions)"""
    coupling: str = "affine"
    """affine or additive"""
    norm: str = "actnorm"
    """of realnvp_image: actnorm or batch_norm"""
    dequantisation: str = "uniform"
    """uniform or variational"""
    logit: float = 0.0
    """a of the logit that pixels go through; 0: none"""
    reversible: str = "auto"
    """yes: train by inversion, in memory that does not grow with depth; no; auto: by depth"""

    def __post_init__(self):
        refuse((self.levels < 0, f"levels is {self.levels}, must be at least 0"))

    def levels_of(self, shape: tuple[int, int, int]) -> int:
        """Resolutions for pictures [H, W, C]."""
        return self.levels or (2 if min(shape[:2]) < SMALL else 3)

    def options(self, **changed) -> dict:
        """What `architectures.build_image` takes."""
        return {**dataclasses.asdict(self), **changed}


SMALL = 16  # pixels, up to which two levels do


@settings
class Pictures:
    """Pictures to learn, of a set inside a package or of one's own."""

    data: str = "silhouettes"
    """a set inside a package: silhouettes, mnist, digits, ...; train_uri overrides it"""
    train_uri: str = ""
    """your pictures: a folder or s3:// prefix with a folder a class, PNG or JPEG"""
    val_uri: str = ""
    """held-out pictures, as train_uri; empty: val beside train, else a tenth of each class"""
    classes: list[str | int] | Literal["auto"] | None = None
    """classes to learn, in the order of their numbers; null: all; auto: cat of
    silhouettes, all of others"""
    image_size: int = 0
    """height and width that pictures are brought to; 0: as they are"""
    channels: int = 0
    """1 grey, 3 colour; 0: as they are"""
    cache_dir: str = ""
    """where decoded pictures are kept between runs; empty: the user's cache folder"""
    max_bad: int = 10
    """unreadable pictures that are skipped before the run ends"""
    flip: bool | None = True
    """augmentation: mirror half of the pictures"""
    rotation: float = 0.0
    """augmentation: degrees, at most, to either side"""
    zoom: float = 0.0
    """augmentation: largest change of size, 0.1 for a tenth"""
    shear: float = 0.0
    """augmentation: degrees, at most"""
    shift: float = 0.0
    """augmentation: share of the sides, at most"""
    noise: float = 0.0
    """augmentation: standard deviation of Gaussian noise, as a share of the range of pixels, which
    samples have taken off; 0.025 is that of TarFlow"""

    def __post_init__(self):
        refuse(
            (self.max_bad < 0, f"max_bad is {self.max_bad}, must be at least 0"),
            (not 0 <= self.noise < math.inf, f"noise is {self.noise}, must be at least 0"),
        )


@settings
class Measured:
    """Samples held against held-out pictures (doc/sample_quality.md)."""

    measured_samples: int | None = None
    """samples that are measured, 20 at least; 0: none; null: 500, and none where the training has
    fewer steps"""
    measured_by: str = ""
    """network whose features are compared: module:function, FILE.py:function or keras:NAME;
    empty: a small one, trained in the run"""

    def __post_init__(self):
        number = self.measured_samples
        refuse(
            (
                number is not None and 0 != number < 20,
                f"measured_samples is {number}, must be 0 or at least 20",
            )
        )


@settings
class Classifier:
    """Generative classification."""

    form: str = "mixture"
    """mixture (a learned Gaussian a class as the base), conditional (the class in the layers) or
    joint (the class among the outputs)"""
    compare: bool = False
    """train the other two forms too, for the table"""
    beta: float | None = None
    """weight of -log p(y | x) beside -log p(x); 1 is maximum likelihood; null: by the data"""
    sigma_y: float = 0.1
    """joint: width of the density of the label around its one-hot vector"""
    labelled: int = 0
    """training rows that keep their label; 0: all"""
    unknown: str = ""
    """a class left out of training, to see it flagged"""
    label_study: bool = False
    """train again with few to many labels: accuracy by number of labels"""
    beta_study: bool = False
    """train again with small to large beta: accuracy against likelihood"""
    passes: int = 150
    """over the training rows at most: small sets take fewer steps"""

    def __post_init__(self):
        refuse(
            (
                self.form not in CLASS_FORMS,
                f"no form {self.form!r}; there are {', '.join(CLASS_FORMS)}",
            ),
            (not 0 < self.sigma_y < math.inf, f"sigma_y is {self.sigma_y}; it must be above 0"),
            (
                self.beta is not None and not 0 <= self.beta < math.inf,
                f"beta is {self.beta}, must be at least 0",
            ),
            (self.labelled < 0, f"labelled is {self.labelled}, must be at least 0"),
            (self.passes < 1, f"passes is {self.passes}, must be at least 1"),
        )


CLASS_FORMS = ("mixture", "conditional", "joint")
INVERSE_FORMS = ("conditional", "joint")


@settings
class Inverse:
    """An inverse problem: what is simulated, and what the posterior is held against."""

    form: str = "conditional"
    """conditional (data into the couplings) or joint (data among the outputs)"""
    compare: bool = True
    """train the other form too, for the table"""
    simulations: int = 100_000
    """pairs of parameters and data drawn ahead for training"""
    validation_draws: int = 10_000
    """pairs that the training is watched on"""
    test_draws: int = 1000
    """fresh pairs for calibration, coverage and ranks; at least as many as `references`"""
    posterior_samples: int = 1000
    """of each posterior of the test"""
    reference: bool = True
    """compare with the reference sampler; its samples are kept on disk, so paid for once"""
    references: int = 10
    """observations for which the reference sampler is run"""
    reference_folder: str = ""
    """where its samples are kept; empty: ~/.cache/flow_models"""
    correct: bool = True
    """importance resampling of the flow's samples with the exact likelihood, as a row of its own"""
    observed: str = ""
    """file with your data, local or s3://; data/README.md has the format"""

    def __post_init__(self):
        known = ", ".join(INVERSE_FORMS)
        refuse((self.form not in INVERSE_FORMS, f"no form {self.form!r}; there are {known}"))


@settings
class PosteriorNetwork(VectorNetwork):
    """The network of a posterior."""

    depth: int = 6
    """layers"""
    hidden: tuple[int, ...] = (128, 128)
    """widths of the hidden layers of each conditioner"""
    activation: str = "silu"
    """relu, silu, tanh or gelu"""
    linear: bool = True
    """spline_coupling: a learned linear layer, started at a rotation, before each coupling"""
    summary: int = 0
    """conditional: columns that a network, trained along, makes of the data's context; 0: none"""
    summary_hidden: tuple[int, ...] = (128,)
    """widths of that network"""
    joint_depth: int = 6
    """layers of the joint form, spline couplings whatever the architecture of the other form"""
    joint_hidden: tuple[int, ...] = (128, 128)
    """widths of its conditioners: it has the whole forward model to learn"""

    def options(self, **changed) -> dict:
        """What `architectures.build` takes for the conditional form."""
        options = super().options(**changed)
        return {name: each for name, each in options.items() if not name.startswith("joint_")}

    def __post_init__(self):
        super().__post_init__()
        refuse((self.summary < 0, f"summary is {self.summary}, must be at least 0"))


@settings
class ExtraLosses:
    """Terms added to the likelihood, by weight (Ardizzone et al. 2019)."""

    mmd_latents: float = 0.0
    """of the MMD^2 of (y, z) to independent ones, z of N(0, I)"""
    mmd_parameters: float = 0.0
    """of the MMD^2 of parameters sampled for the data of a batch to its parameters"""
    reconstruction: float = 0.0
    """of the squared distance of parameters to those got back with y in place of f's y"""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            refuse((not 0 <= value < math.inf, f"{field.name} is {value}, must be at least 0"))


def check_detection(config) -> None:
    """Refuses settings of application 2 that cannot be, before anything else is done."""
    from flow_models.diagnostics.anomaly import BACKGROUNDS, SCORES

    temperature, pictures = config.sampling_temperature, config.pictures
    known = pictures.train_uri or pictures.data
    refuse(
        (
            config.background not in BACKGROUNDS,
            f"background is {config.background!r}, must be one of {', '.join(BACKGROUNDS)}",
        ),
        (not 0 <= config.mutation <= 1, f"mutation is {config.mutation}, must be between 0 and 1"),
        (
            config.score not in SCORES,
            f"score is {config.score!r}, must be one of {', '.join(SCORES)}",
        ),
        (
            config.score == "likelihood_ratio" and config.background == "none",
            "the score likelihood_ratio needs a background: choose another score, or a background",
        ),
        (config.resamples < 1, f"resamples is {config.resamples}, must be at least 1"),
        (not 0 < temperature < math.inf, f"sampling_temperature is {temperature}, must be above 0"),
        (
            config.background_steps < 0,
            f"background_steps is {config.background_steps}, must be at least 0",
        ),
        (
            pictures.classes == [],
            "classes is empty: name what is known, or give null for all classes",
        ),
        (
            known in config.far,
            f"anomalies are sets that are foreign, {pictures.data} is what is learned: its other"
            " classes are near anomalies",
        ),
    )


LEAST = {
    "simulations": 1000,
    "validation_draws": 100,
    "test_draws": 20,
    "posterior_samples": 20,
    "references": 1,
    "components": 1,
    "newton_steps": 0,
    "corrected": 1,
    "joint_steps": 1,
}


def check_inverse(config) -> None:
    """Refuses settings of an inverse problem before anything is simulated."""
    asked, values = config.inverse, flat(config)
    for name, least in LEAST.items():
        value = values.get(name, least)
        refuse((value < least, f"{name} is {value}, must be at least {least}"))
    # found before a form that draws as it goes is trained, not after
    refuse(
        (
            config.fit.batch_size > asked.simulations,
            f"batch_size is {config.fit.batch_size}, more than the {asked.simulations} simulations:"
            " lower it, or raise those",
        )
    )


def check_estimation(config) -> None:
    """Refuses settings of application 5."""
    check_inverse(config)
    within = {
        "first_noise": 1 <= config.first_noise < math.inf,
        "noise_share": 0 < config.noise_share <= 1,
        "rare_oversampling": 0 <= config.rare_oversampling < 1,
        "fourier_features": config.fourier_features >= 0,
        "problem": config.problem in ("kinematics", "ballistics"),
        "tolerance": 0 <= config.tolerance < math.inf,
        "joint_sigma": 0 < config.joint_sigma < math.inf,
        "onto_data": config.onto_data in ("auto", "always", "never"),
    }
    for name, fits in within.items():
        said = f"{name} is {getattr(config, name)!r}; see --help for what it can be"
        refuse((not fits, said))


SIZES = {
    "seismograms": {"simulations": 200_000, "references": 10},
    "dispersion": {"simulations": 40_000, "references": 4},
}  # of application 7, by problem


def sized(config) -> Inverse:
    """The settings of application 7 with the sizes that its problem has where they are 0."""
    known = ", ".join(SIZES)
    refuse(
        (config.problem not in SIZES, f"no problem {config.problem!r}; there are {known}"),
        (
            config.hard and config.problem != "seismograms",
            "hard is a variant of --problem seismograms",
        ),
    )
    sizes = SIZES[config.problem]
    missing = {name: n for name, n in sizes.items() if not getattr(config.inverse, name)}
    return dataclasses.replace(config.inverse, **missing)


@settings
class OwnNetwork:
    """The network of your own problem; what is left empty follows from the number of pairs."""

    architecture: str = ""
    """maf, spline_coupling, realnvp, or another of doc/families.md"""
    depth: int = 0
    """layers"""
    hidden: tuple[int, ...] = ()
    """widths of the hidden layers of each conditioner"""
    bins: int = 0
    """of the splines"""

    @property
    def chosen(self) -> dict:
        """What is not left empty."""
        return {name: each for name, each in dataclasses.asdict(self).items() if each}


FAILURES = ("physical", "numerical")
LEAST_OWN = {
    "pairs": 250,
    "test_pairs": 20,
    "rounds": 1,
    "posterior_samples": 20,
    "resimulations": 0,
    "jobs": 0,
    "depth": 0,
    "bins": 0,
}


def check_own(config) -> None:
    """Refuses settings of your own problem before anything is simulated."""
    values = flat(config)
    for name, least in LEAST_OWN.items():
        refuse((values[name] < least, f"{name} is {values[name]}, must be at least {least}"))
    known = ", ".join(FAILURES)
    refuse(
        (config.failures not in FAILURES, f"failures is {config.failures!r}; there are {known}"),
        (
            config.rounds > 1 and not config.observed,
            "rounds are for one observation: give --observed FILE",
        ),
        (
            config.rounds > 1 and bool(config.pairs_from),
            "rounds are simulated as training goes, and pairs_from were simulated before: give one",
        ),
        (
            config.pairs // config.rounds < LEAST_OWN["pairs"],
            f"{config.pairs} pairs in {config.rounds} rounds are fewer than"
            f" {LEAST_OWN['pairs']} each",
        ),
    )
