"""Settings of `bs6207 latent`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from bs6207.data.form import Form
from bs6207.data.sources import DATA_HELP, NAMES, DataName
from bs6207.latent.clusterers import CLUSTERERS, EXTRAS
from bs6207.runs.names import Completions, PathSetting, usable
from bs6207.runs.settings import distinct, known, setting
from bs6207.runs.sweep import SweptSettings
from bs6207.training.devices import PrecisionName

LatentSize = Annotated[int, Field(ge=1, le=784)]  # of MNIST's pixels; a larger latent is no bottleneck


def installed(choice: str) -> str:
    """Refuse a choice whose extra is missing before any training."""
    extra = {**EXTRAS, "umap": "umap"}.get(choice)
    if extra is not None and find_spec(extra) is None:
        raise ValueError(f'{choice} needs the {extra} extra; run pip install "bs6207[{extra}]"')
    return choice


def empty_folder(name: str) -> str:
    """Accepts the name of a folder that is empty or not there."""
    place = Path(usable(name))
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ValueError(f"{name} exists and is not empty; give a new folder")
    return str(place.absolute())


FEWEST, MOST = 2, 100  # clusters


def count_or_range(clusters: int | str | None) -> int | str | None:
    """Accepts a number, `auto`, and two numbers as in `2:20`."""
    if clusters is None or clusters == "auto":
        return clusters
    try:
        numbers = [int(part) for part in str(clusters).split(":")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2:
        raise ValueError(f"{clusters!r} is no number of clusters; write one, as 10, or 2:20, or auto")
    if not FEWEST <= numbers[0] <= numbers[-1] <= MOST:
        raise ValueError(f"{clusters} is outside of {FEWEST} to {MOST}, or turned round; write 10, or 2:20, or auto")
    return clusters if len(numbers) == 2 else numbers[0]


ClustererName = Annotated[str, known("clusterer", CLUSTERERS), AfterValidator(installed), Completions((*CLUSTERERS,))]
ProjectionName = Annotated[Literal["pca", "umap"], AfterValidator(installed)]

TRAINING, FOLDER = "Training", "A folder of your own"


class LatentSettings(SweptSettings):
    dims: Annotated[list[LatentSize], AfterValidator(distinct)] = setting(
        [2, 4, 8, 16], "Latent sizes, one autoencoder each.", min_length=1, metavar="INT..."
    )
    data: DataName = setting("auto", DATA_HELP)
    clusterer: Annotated[list[ClustererName], AfterValidator(distinct)] = setting(
        ["kmeans"], f"How latents are clustered: {', '.join(CLUSTERERS)}.", min_length=1, metavar="NAME..."
    )
    clusters: Annotated[int | str | None, AfterValidator(count_or_range)] = setting(
        None,
        f"How many clusters: a number from {FEWEST} to {MOST}, a range to search in, or auto to search in all; as "
        "many as there are classes if not given, auto where images have none.",
        metavar="N|auto|LOW:HIGH",
    )
    seeds: int = setting(1, "Autoencoders per latent size, with seeds counting up from --seed.", ge=1, le=100)
    link: Annotated[str, AfterValidator(empty_folder), PathSetting()] | None = setting(
        None,
        "Fill this folder, new or empty, with links to your files, a folder per cluster; copies where links cannot be.",
        panel=FOLDER,
        metavar="DIR",
        exclude=True,
    )
    skip_probes: bool = setting(
        False, "Leave out the probes: classifiers, neighbourhoods, intrinsic dimension; 10 s for raw pixels."
    )
    projection: ProjectionName = setting(
        "pca", "How latents of more than 2 dimensions are drawn in a plane: pca, or umap, with the extra of that name."
    )
    projector: bool = setting(
        False,
        "Write files for TensorBoard's projector too; the extra tensorboard is only the viewer of the run folder.",
    )

    size: int | None = setting(
        None,
        "Bring pictures to squares of so many pixels a side; if not given they stay as they are or, where their sizes "
        "differ, get the median of their longer sides, from 28 to 64.",
        panel=FOLDER,
        ge=2,
        le=512,
    )
    fit: Literal["pad", "crop", "stretch"] = setting(
        "pad", "How other shapes become squares: pad shows them whole, crop their middle, stretch all.", panel=FOLDER
    )
    colour: Literal["auto", "grey", "rgb"] = setting(
        "auto",
        "Read pictures in grey or in colours; auto: in grey unless 2 % of the variance is of colour.",
        panel=FOLDER,
    )
    recursive: bool = setting(False, "Read pictures at any depth of the folder, without classes.", panel=FOLDER)

    recipe: Literal["full", "fast"] = setting(
        "full", "Network and schedule: full is best after many epochs, fast after one.", panel=TRAINING
    )
    arch: Literal["mlp", "conv"] = setting("mlp", "Hidden layers: perceptron or convolutions.", panel=TRAINING)
    loss: Literal["l1", "mse"] = setting("l1", "Absolute or squared error per pixel.", panel=TRAINING)
    epochs: int = setting(30, "Passes over the training images.", panel=TRAINING, ge=1, le=10_000)
    batch_size: int | None = setting(
        None,
        "Images per step; if not given 512 for small latents, 256 for large, less for few images.",
        panel=TRAINING,
        ge=2,
        le=65536,
    )
    lr: float | None = setting(
        None,
        "Peak learning rate; if not given .02 for small latents down to .002 for large ones.",
        panel=TRAINING,
        gt=0,
        le=10,
    )
    train_images: int | None = setting(
        None, "Train on the first so many training images only.", panel=TRAINING, ge=100, le=10_000_000
    )
    precision: PrecisionName = setting(
        "auto", "Number format of the training; auto is bf16 where the processor has it.", panel=TRAINING
    )

    @property
    def cluster_range(self) -> tuple[int, int]:
        """The least and the largest number of clusters that is asked for."""
        numbers = [FEWEST, MOST] if self.clusters in (None, "auto") else map(int, str(self.clusters).split(":"))
        low, *high = numbers
        return low, high[0] if high else low

    @property
    def read_as(self) -> dict[str, Any]:
        return {"form": Form(self.size, self.fit, self.colour, self.recursive)}

    @model_validator(mode="after")
    def require_folder(self) -> "LatentSettings":
        """The images of a named data set are of one size and mode already."""
        if self.data in NAMES and self.read_as["form"] != Form():
            raise ValueError(f"--size, --fit, --colour and --recursive are for a folder, not for --data {self.data}")
        if self.link and (self.data in NAMES or self.sweep):
            raise ValueError(
                f"--link is for the pictures of a folder, not for {'--sweep' if self.sweep else self.data}"
            )
        return self

    @model_validator(mode="after")
    def require_enough_images(self) -> "LatentSettings":
        """PCA, the baseline at every size, has no more components than images."""
        if self.train_images is not None and self.train_images < max(self.dims):
            raise ValueError(
                f"--train-images {self.train_images} is fewer than the latent size {max(self.dims)}; "
                "raise it, or lower --dims"
            )
        return self
