"""Autoencoders as scikit-learn estimators: the latents of images, and clusters of these."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.metrics import silhouette_score
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from bs6207.data.images import CHANNELS, ImageSet, as_array, shuffled, to_uint8, within_unit
from bs6207.latent.autoencoder import AT_ONCE, Autoencoder, Shape
from bs6207.latent.clusterers import CLUSTERERS, SEES_IMAGES, reason_to_skip
from bs6207.latent.settings import LatentSettings
from bs6207.latent.tasks import new_autoencoder
from bs6207.latent.training import train_autoencoder, validate
from bs6207.runs.caller import undisturbed
from bs6207.runs.python import only, settings_of
from bs6207.training.batches import to_device
from bs6207.training.devices import choose_device, choose_precision, prepare, require_device

VALIDATED = 10  # one in so many images is held out and chooses the epoch; of fewer images all are used for both
MOST_CLUSTERS, SCORED = 20, 2000  # clusters that are tried where nobody says how many, and latents that are scored
LARGEST_SEED = 2**31


class LatentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Latents of images by the autoencoder of `bs6207 latent`.

    Images are arrays [N, H, W], [N, C, H, W], [N, H, W, 1 or 3] or flat, [N, pixels], or a list of images of one shape,
    such as Pillow's. A flat one is an image of `image_shape` or, without that, a square if the number of pixels is one,
    otherwise a single row. If `fit` sees uint8, or values in [0, 1], then later images too are uint8, 0 to 255, or lie
    in [0, 1], whichever of the two. Other values are scaled so that all that `fit` sees lie in [0, 1], by the same two
    numbers later. The autoencoder is trained on them in 8 bits and applied to them in double precision, so that the
    latent of an image does not depend on the images beside it.

    Args:
        dim: dimensions of a latent; no more are used than there are pixels or images, see `dim_`.
        epochs, recipe, arch, loss, batch_size, lr, precision, device: as the settings of `bs6207 latent`.
        image_shape: (H, W) or (C, H, W) of flat images.
        random_state: the seed; the same seed gives the same latents. None draws one from numpy.

    Attributes:
        dim_: dimensions of a latent.
        network_: the trained `bs6207.latent.autoencoder.Autoencoder`, on the CPU.
        validation_loss_: mean loss per pixel, in [0, 1], of the images that were held out.
        image_shape_: C, H, W.
        n_features_in_: pixels of an image.
    """

    def __init__(
        self,
        dim: int = 16,
        *,
        epochs: int = 30,
        recipe: str = "full",
        arch: str = "mlp",
        loss: str = "l1",
        batch_size: int | None = None,
        lr: float | None = None,
        precision: str = "auto",
        device: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
    ):
        self.dim = dim
        self.epochs = epochs
        self.recipe = recipe
        self.arch = arch
        self.loss = loss
        self.batch_size = batch_size
        self.lr = lr
        self.precision = precision
        self.device = device
        self.image_shape = image_shape
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train an autoencoder; `y` is not used.

        Raises:
            ValueError: a parameter is out of range, or the images have another shape than `image_shape`.
            bs6207.errors.DivergenceError: the loss is no longer a number; try a smaller lr.
        """
        images = self._fit_shape(X)
        values = images.astype(np.float32)
        low, high = float(values.min()), float(values.max())
        self._has_units = images.dtype == np.uint8 or (low >= 0 and high <= 1)
        if self._has_units:
            low, high = 0.0, highest(images)
        self._low, self._range = low, (high - low) or 1.0
        self._seed = int(check_random_state(self.random_state).randint(LARGEST_SEED - 1, dtype=np.int64))
        if isinstance(self.random_state, int | np.integer):
            self._seed = int(self.random_state) % LARGEST_SEED

        mixed = shuffled(ImageSet(to_uint8(self._scaled(images)), None))
        count = len(mixed) // VALIDATED
        train, validation = (mixed[count:], mixed[:count]) if count else (mixed, mixed)
        settings = self._settings()
        require_device(settings.device)
        self.dim_ = self._n_features_out = min(only("dim", settings.dims), self.n_features_in_, len(train))
        with undisturbed():
            prepare(self._seed)
            device = choose_device(settings.device)
            model = new_autoencoder(train, self.dim_, settings).to(device)
            pixels, held_out = to_device(train, device), to_device(validation, device)
            options = (self._seed, settings.loss, choose_precision(settings.precision, device))
            for _ in train_autoencoder(model, pixels, held_out, settings.epochs, model.recipe, *options):
                pass
            self.validation_loss_ = validate(model, held_out)[settings.loss]
            self.network_: Autoencoder = model.cpu().eval()
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Latents of images, [N, dim_]; float64 of float64, otherwise float32."""
        check_is_fitted(self)
        images = self._checked(X)
        latents = self._apply(self.network_.encoder, self._scaled(images))
        return latents.astype(images.dtype if images.dtype == np.float64 else np.float32)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Images of latents, [N, dim_], in the shape and the units of the images that `fit` saw."""
        check_is_fitted(self)
        latents = check_array(X, dtype=[np.float64, np.float32])
        if latents.shape[1] != self.dim_:
            raise ValueError(f"latents have {self.dim_} dimensions here, not {latents.shape[1]}")
        images = self._apply(self.network_.decoder, latents.astype(np.float64)) * self._range + self._low
        images = images.reshape(-1, *self._given_shape).astype(latents.dtype)
        return np.moveaxis(images, 1, -1) if self._has_channels_last else images

    def _settings(self) -> LatentSettings:
        """The parameters as settings of the command, with its ranges."""
        names = ("epochs", "recipe", "arch", "loss", "batch_size", "lr", "precision", "device")
        return settings_of("latent", LatentSettings, {"dims": self.dim} | {name: getattr(self, name) for name in names})

    def _fit_shape(self, X: ArrayLike) -> NDArray[Any]:
        flat = self._checked(X, is_fit=True)
        pixels = self.n_features_in_
        given: Any = self._given_shape if len(self._given_shape) > 1 else self.image_shape
        if given is None:
            side = math.isqrt(pixels)
            given = (side, side) if side * side == pixels else (1, pixels)
        given = np.ravel(given).tolist()
        self.image_shape_: Shape = with_channels(given)
        if len(self.image_shape_) != 3 or math.prod(self.image_shape_) != pixels:
            raise ValueError(f"an image of {pixels} pixels has no shape {tuple(given)}; give another image_shape")
        return flat

    def _checked(self, X: ArrayLike, is_fit: bool = False) -> NDArray[Any]:
        """The images as they are, flat, [N, pixels]."""
        if isinstance(X, list | tuple) and X and np.ndim(X[0]) > 1:
            X = np.stack([as_array(image) for image in X])
        shape = np.shape(X)[1:] if getattr(X, "ndim", 2) > 2 else ()
        if is_last := len(shape) == 3 and shape[0] not in CHANNELS and shape[2] in CHANNELS:
            X = np.moveaxis(as_array(X), -1, 1)
            shape = X.shape[1:]
        if is_fit:
            self._given_shape, self._has_channels_last = shape, is_last
        elif shape and with_channels(shape) != self.image_shape_:
            raise ValueError(f"images are {list(shape)}, and those that fit saw {list(self._given_shape)}")
        flat: Any = as_array(X).reshape(np.shape(X)[0], math.prod(shape)) if shape else X
        flat = validate_data(self, flat, reset=is_fit, ensure_min_samples=2 if is_fit else 1)
        if is_fit and not shape:
            self._given_shape = (self.n_features_in_,)
        return flat

    def _scaled(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Flat images in [0, 1], [N, C, H, W]; ValueError if `fit` saw uint8 or [0, 1], and these are neither."""
        shaped = images.astype(np.float64).reshape(-1, *self.image_shape_)
        return within_unit(shaped / highest(images)) if self._has_units else (shaped - self._low) / self._range

    @torch.no_grad()
    def _apply(self, part: torch.nn.Module, values: NDArray[np.float64]) -> NDArray[np.float64]:
        double = deepcopy(part).double()
        batches = torch.from_numpy(values).split(AT_ONCE)
        return torch.cat([double(batch) for batch in batches]).numpy()


class LatentClusterer(ClusterMixin, LatentTransformer):
    """Clusters of the latents of images; also a transformer to these latents.

    Args:
        n_clusters: if None, as many as there are classes in the `y` of `fit` or, without that, the number from 2 to 20
            for which K-means of the latents has the largest silhouette.
        clusterer: a name of `bs6207.latent.clusterers.CLUSTERERS`, as `--clusterer` takes it.
        others: as `LatentTransformer`.

    Attributes:
        labels_: clusters of the images that `fit` saw, [N], from 0.
        n_clusters_: how many clusters.
        others: as `LatentTransformer`.
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        dim: int = 16,
        clusterer: str = "kmeans",
        *,
        epochs: int = 30,
        recipe: str = "full",
        arch: str = "mlp",
        loss: str = "l1",
        batch_size: int | None = None,
        lr: float | None = None,
        precision: str = "auto",
        device: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            dim,
            epochs=epochs,
            recipe=recipe,
            arch=arch,
            loss=loss,
            batch_size=batch_size,
            lr=lr,
            precision=precision,
            device=device,
            image_shape=image_shape,
            random_state=random_state,
        )
        self.n_clusters = n_clusters
        self.clusterer = clusterer

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train an autoencoder and cluster its latents; of `y` only the number of classes is used, see `n_clusters`."""
        name = only("clusterer", settings_of("latent", LatentSettings, {"clusterer": self.clusterer}).clusterer)
        if y is not None:
            check_consistent_length(X, y)
        if self.n_clusters is not None:
            check_scalar(self.n_clusters, "n_clusters", (int, np.integer), min_val=1)
        super().fit(X)
        self._clusterer = name
        images = self._checked(X)
        vectors = self._vectors(images)
        count = self.n_clusters
        if count is None:
            count = choose_clusters(vectors[0], self._seed) if y is None else len(np.unique(np.asarray(y)))
        if reason := reason_to_skip(name, count, len(images)):
            raise ValueError(f"{reason}; give another n_clusters, clusterer, or more images")
        self.n_clusters_ = int(count)
        with undisturbed(), threadpool_limits(1):
            prepare(self._seed)
            make: Any = CLUSTERERS[name]
            self._model = make(int(count), self._seed)
            self._model.fit(*vectors)
            self.labels_ = self._model.predict(*vectors)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The cluster of each image, [N]."""
        check_is_fitted(self)
        with undisturbed(), threadpool_limits(1):
            prepare(self._seed)
            return self._model.predict(*self._vectors(self._checked(X)))

    def _vectors(self, images: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """What the clusterer takes: latents and, if it sees images, these."""
        scaled = self._scaled(images)
        latents = self._apply(self.network_.encoder, scaled).astype(np.float32)
        return (latents, to_uint8(scaled)) if self._clusterer in SEES_IMAGES else (latents,)


def with_channels(shape: Sequence[int]) -> Any:
    """C, H, W of an image of fewer axes."""
    return (*(1,) * (3 - len(shape)), *shape)


def highest(images: NDArray[Any]) -> float:
    """The level of white."""
    return 255.0 if images.dtype == np.uint8 else 1.0


def choose_clusters(latents: NDArray[np.float32], seed: int) -> int:
    """The number of clusters with the largest silhouette (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7)."""
    some = latents[np.random.RandomState(seed).permutation(len(latents))[:SCORED]]
    make: Any = CLUSTERERS["kmeans"]
    scores: dict[int, float] = {}
    for count in range(2, min(MOST_CLUSTERS, len(some) - 1) + 1):
        with threadpool_limits(1):
            labels = make(count, seed).fit(some).predict(some)
        if 1 < len(np.unique(labels)) < len(some):
            scores[count] = float(silhouette_score(some, labels))
    return max(scores, key=lambda count: scores[count], default=1)
