"""Settings of `bs6207 deblur` and `bs6207 restore`."""

import math
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from bs6207.data.sources import DATA_HELP, DataName
from bs6207.runs.names import PathSetting, at_home, usable
from bs6207.runs.settings import Options, distinct, setting
from bs6207.runs.sweep import SweptSettings
from bs6207.training.devices import PrecisionName

training = partial(setting, panel="Training")
of_disc = partial(setting, panel="Discriminator")
of_blur = partial(setting, panel="Blur and test")

BlurKind = Literal["gaussian", "disk", "motion", "anisotropic"]
BLUR_KINDS: tuple[BlurKind, ...] = get_args(BlurKind)
STRONG = 40.0  # times the disc weight, at the far end of the frontier
WIDEST_SIGMA = 10.0  # beyond it nothing of a 28-pixel image is left to restore


class SigmaRange(NamedTuple):
    """The narrowest and the widest blur, in pixels; written LOW:HIGH, or as one number where they are equal."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (str(sigma).removesuffix(".0") for sigma in self)
        return low if low == high else f"{low}:{high}"

    @classmethod
    def parse(cls, text: str) -> Self:
        first, colon, second = text.partition(":")
        try:
            low, high = float(first), float(second if colon else first)
        except ValueError:
            raise ValueError(f"{text!r} is neither LOW:HIGH nor a number, as in 0.5:3 or 1.5") from None
        if not 0 <= low <= high <= WIDEST_SIGMA:
            raise ValueError(f"{text!r} must lie within 0 to {WIDEST_SIGMA:g} pixels, and rise, as in 0.5:3 or 1.5")
        if not high:
            raise ValueError(f"{text!r} leaves nothing to restore; give a blur, as in 0.5:3 or 1.5")
        return cls(low, high)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda value, read: value if isinstance(value, cls) else cls.parse(read(value)),
            core_schema.str_schema(),
            serialization=core_schema.to_string_ser_schema(when_used="always"),
        )


class DeblurSettings(SweptSettings):
    data: DataName = setting("auto", DATA_HELP)
    seeds: int = setting(1, "Restorers of each kind, with seeds counting up from --seed.", ge=1, le=100)
    frontier: bool = setting(
        False, f"Train with {STRONG:g} times the disc weight too, and trace PSNR against clearness from L1 to it."
    )

    epochs: int = training(
        7,
        "Passes over the training images, of photographs over 6,400 crops, 16 unless given: a tenth trains disc_net, a "
        "tenth trains with L1 + disc_net (and once more the control, with L1 alone), the rest before them with L1. The "
        "autoencoder beside them, if there is one, takes all with L1.",
        ge=3,
        le=10_000,
    )
    arch: Literal["unet", "autoencoder"] = training(
        "unet", "A residual U-Net, for images of any size, or an autoencoder with a bottleneck, for those of one."
    )
    batch_size: int = training(64, "Images per step; 16 crops of photographs unless given.", ge=1, le=65536)
    lr: float = training(
        0.003, "Peak learning rate, of photographs 0.002 unless given; the last stage uses a fifth of it.", gt=0, le=10
    )
    train_images: int | None = training(
        None, "Train on the first so many images; a tenth is for the held-out discriminator.", ge=100, le=10_000_000
    )
    crop: int | None = training(
        None,
        "Train on photographs, by crops of so many pixels a side, cut after the blur; 64 for pictures of several sizes "
        "or of more than 128 pixels a side.",
        ge=16,
        le=1024,
        metavar="N",
    )
    colour: Literal["auto", "grey", "rgb"] = training(
        "auto", "Train on grey or on colours; auto: photographs in grey, other images as they are."
    )
    precision: PrecisionName = training(
        "auto", "Number format of the training; auto is bf16 where the processor has it."
    )

    disc_weight: float = of_disc(
        0.0005, "Weight of the adversarial loss in the last stage, larger where the blur removed more.", ge=0, le=1000
    )
    disc: Literal["frozen", "joint"] = of_disc(
        "joint", "In the last stage disc_net is frozen, or trained jointly with the restorer."
    )
    disc_loss: Literal["bce", "lsgan", "hinge"] = of_disc(
        "bce", "The loss of disc_net's score, for itself and for the restorer."
    )

    sigma: SigmaRange = of_blur(
        SigmaRange(0.2, 4.0),
        "Blur to train on, in pixels: a range, drawn anew for every image with one in twenty left clear; or one number "
        "for a specialist.",
        metavar="LOW:HIGH|S",
    )
    blur: Annotated[list[BlurKind], AfterValidator(distinct)] = of_blur(
        ["gaussian"],
        f"Kinds of blur to train on, any of {', '.join(BLUR_KINDS)}, drawn anew for every image; of photographs all "
        "unless given. Sigma is the standard deviation along the widest axis: a disk has a radius of 2 sigma, a motion "
        "a length of 3.5.",
        min_length=1,
        metavar="KIND...",
    )
    gamma: float = of_blur(
        1.0, "Train on blur of linear light, pixels to the power of 1 to so much, drawn for every image.", ge=1, le=4
    )
    jpeg: int | None = of_blur(
        None, "Train on images saved as JPEG, with a quality from so much to 100, drawn for every image.", ge=1, le=100
    )
    noise: float = of_blur(
        0.01, "Standard deviation of the noise, before rounding to 8 bits; trained on 0 to twice as much.", ge=0, le=1
    )
    test_sigmas: Annotated[list[Annotated[float, Field(ge=0, le=WIDEST_SIGMA)]], AfterValidator(distinct)] = of_blur(
        [1.0, 1.5, 2.0, 3.0],
        "Blur to score on, in pixels; of photographs 1.6 in place of 1.5.",
        min_length=1,
        metavar="S...",
    )
    test_images: int = of_blur(
        1000, "Test images to score, a fixed random choice; fewer where they are large.", ge=10, le=100_000
    )

    @property
    def read_as(self) -> dict[str, Any]:
        return {"any_size": True}

    def for_photographs(self) -> Self:
        """With the defaults for photographs, where the user has set no others."""
        unset = {name: value for name, value in PHOTOGRAPHS.items() if name not in self.model_fields_set}
        return self.model_copy(update=unset)

    @property
    def stages(self) -> dict[str, int]:
        """Epochs of each stage, at least one, in the order they run; the control takes as many as `l1_disc`."""
        tenth = max(1, round(self.epochs / 10))
        stages = {"l1": self.epochs - 2 * tenth, "disc_net": tenth, "l1_disc": tenth}
        return stages if self.crop is None else {"kernel_net": math.ceil(self.epochs / 2), **stages}

    @property
    def beside(self) -> list[str]:
        """Architectures trained with L1 for comparison, of the first seed only."""
        return ["autoencoder"] if self.arch == "unet" and self.crop is None else []

    @property
    def ends(self) -> dict[str, float]:
        """The restorers of the last stage and their disc weights, from the control, clarity 0, to clarity 1."""
        ends = {"l1": 0.0, "l1_disc": self.disc_weight}
        return ends | {"strong": STRONG * self.disc_weight} if self.frontier else ends


PHOTOGRAPHS: Any = {  # defaults that are not those of digits; 1.6 is the sigma that papers on photographs report
    "crop": 64,
    "epochs": 16,
    "batch_size": 16,
    "lr": 0.002,
    "blur": [*BLUR_KINDS],
    "test_sigmas": [1.0, 1.6, 2.0, 3.0],
}


class RestoreSettings(Options):
    images: list[Annotated[str, AfterValidator(at_home), PathSetting()]] = setting(
        [],
        "PNG, JPEG, TIFF, BMP, GIF, WebP, PPM, or folders of such pictures.",
        panel="Pictures",
        positional=True,
        metavar="IMAGE|FOLDER",
    )
    model: Annotated[str, AfterValidator(usable), PathSetting()] = setting(
        "outputs/deblur", "The folder of a run of bs6207 deblur, whose restorer is used.", metavar="DIR"
    )
    clarity: float | None = setting(
        None,
        "From the restorer of L1 alone, 0, to the one trained with the strongest discriminator, 1: the higher, the "
        "sharper it looks, and the lower its PSNR. The run's own choice if not given.",
        ge=0,
        le=1,
    )
    anyway: bool = setting(
        False, "Restore pictures unlike those that the restorer was trained on, such as photographs by one of digits."
    )
    max_pixels: int | None = setting(
        None,
        "Refuse pictures of more pixels, which may not fit in memory; what Pillow calls safe if not given.",
        ge=1,
    )
    onnx: Annotated[str, AfterValidator(usable), PathSetting()] | None = setting(
        None,
        "Also write the network of this clarity as an ONNX file, not of photographs; needs the extra named onnx.",
        metavar="FILE",
    )

    @model_validator(mode="after")
    def has_something_to_do(self) -> Self:
        if not self.images and not self.onnx:
            raise ValueError("there is no picture to restore; give at least one, or --onnx FILE")
        return self
