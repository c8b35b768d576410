"""What `bs6207 latent` can be told."""

from importlib.util import find_spec
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bs6207.data.sources import DATA_HELP, DataName
from bs6207.experiment import Settings, distinct, known, setting
from bs6207.latent.clusterers import CLUSTERERS, EXTRAS

MOST_PIXELS = 784  # of the images here; a larger latent would be no bottleneck

LatentSize = Annotated[int, Field(ge=1, le=MOST_PIXELS)]


def installed(clusterer: str) -> str:
    """Refuses a clusterer whose extra is missing, before hours of training and not after."""
    extra = EXTRAS.get(clusterer)
    if extra is not None and find_spec(extra) is None:
        raise ValueError(f'{clusterer} needs the {extra} extra; run pip install "bs6207[{extra}]"')
    return clusterer


ClustererName = Annotated[str, known("clusterer", CLUSTERERS), AfterValidator(installed)]

TRAINING = "Training"


class LatentSettings(Settings):
    """Settings of the latent experiment."""

    dims: Annotated[list[LatentSize], AfterValidator(distinct)] = setting(
        [2, 4, 8, 16], "Latent sizes, one autoencoder each.", min_length=1, metavar="INT..."
    )
    data: DataName = setting("auto", DATA_HELP)
    clusterer: Annotated[list[ClustererName], AfterValidator(distinct)] = setting(
        ["kmeans"], f"How latents are clustered: {', '.join(CLUSTERERS)}.", min_length=1, metavar="NAME..."
    )
    seeds: int = setting(1, "Autoencoders per latent size, with seeds counting up from --seed.", ge=1, le=100)

    epochs: int = setting(20, "Passes over the training images.", panel=TRAINING, ge=1, le=10_000)
    batch_size: int = setting(256, "Images per step.", panel=TRAINING, ge=2, le=65536)
    lr: float = setting(0.01, "Peak learning rate.", panel=TRAINING, gt=0, le=10)
    train_images: int | None = setting(
        None, "Learn from the first so many training images only.", panel=TRAINING, ge=100
    )

    @model_validator(mode="after")
    def learns_from_enough_images(self) -> "LatentSettings":
        """PCA, the baseline at every size, has no more components than images."""
        if self.train_images is not None and self.train_images < max(self.dims):
            raise ValueError(f"--train-images {self.train_images} is fewer than the latent size {max(self.dims)}")
        return self
