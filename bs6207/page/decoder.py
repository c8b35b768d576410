"""The decoder of a latent of two dimensions, read without torch and rounded so that it fits into the page."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bs6207.page.packing import pack, pack_rounded
from bs6207.runs.result import METADATA

BATCH_NORM_EPS = 1e-5  # torch's
BLACK = -40.0  # where a sigmoid is 0 to 17 digits
EXACT = 7e-6  # most that rounding may change a pixel, of 1
DIGITS = np.arange(16, 25, 0.5)  # binary digits behind the point, as few of them as will do
SMALL = 1000  # numbers; a layer of fewer is not rounded
MOST_WEIGHTS = 800_000  # numbers; more would not fit into the page
AS_DRAWN = 1.01 / 255  # most that a pixel may differ from one the run decoded and rounded to 8 bits

Layer = tuple[NDArray[np.float64], NDArray[np.float64]]  # weight [outputs, inputs] and bias [outputs]


@dataclass(frozen=True)
class Decoder:
    """Linear layers with ReLU between them and a sigmoid at the end; BatchNorm is folded into them."""

    layers: Sequence[Layer]
    image_shape: tuple[int, int, int]

    def __call__(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """Images in [0, 1], [N, C, H, W], of latents, [N, 2]."""
        values = latents.astype(np.float64)
        for weight, bias in self.layers[:-1]:
            values = np.maximum(values @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        with np.errstate(over="ignore"):
            images = 1 / (1 + np.exp(-(values @ weight.T + bias)))
        return images.reshape(-1, *self.image_shape)

    def agrees(self, latents: NDArray[Any], images: NDArray[np.uint8]) -> bool:
        """Whether it decodes latents, [N, 2], to the images, [N, C, H, W], that the run itself has decoded."""
        return bool(np.abs(self(latents) - images / 255).max() <= AS_DRAWN)

    def packed(self, latents: NDArray[Any]) -> list[dict[str, Any]]:
        """The layers for the page, rounded as coarsely as keeps the images of `latents`, [N, 2], exact to `EXACT`."""
        images = self(latents)
        steepest = (images * (1 - images)).max(0).ravel()  # pixels that stay black take coarser steps
        relative = [np.ones(len(bias)) for _, bias in self.layers]
        relative[-1] = 2 ** np.floor(np.log2(0.25 / np.maximum(steepest, 1e-4)))
        for digits in DIGITS:
            steps = [(2.0**-digits * rows).astype(np.float32) for rows in relative]
            rounded = [
                (weight if weight.size < SMALL else np.round(weight / step[:, None]) * step[:, None], bias)
                for (weight, bias), step in zip(self.layers, steps, strict=True)
            ]
            if np.abs(Decoder(rounded, self.image_shape)(latents) - images).max() <= EXACT:
                break
        return [
            {"weight": pack(weight) if weight.size < SMALL else pack_rounded(weight, step), "bias": pack(bias)}
            for (weight, bias), step in zip(self.layers, steps, strict=True)
        ]


def widened(layer: Layer, window: Sequence[int], shape: tuple[int, int, int]) -> Layer:
    """A last layer that outputs a window of the image (top, bottom, left, right), extended by black around it."""
    top, bottom, left, right = window
    weight, bias = (part.reshape(shape[0], bottom - top, right - left, *part.shape[1:]) for part in layer)
    weights, biases = np.zeros((*shape, weight.shape[-1])), np.full(shape, BLACK)
    weights[:, top:bottom, left:right], biases[:, top:bottom, left:right] = weight, bias
    return weights.reshape(-1, weight.shape[-1]), biases.ravel()


def read_decoder(file: Path) -> Decoder | None:
    """The decoder in a file of weights; None where it is missing, too large, or of another architecture."""
    try:
        with safe_open(file, framework="numpy") as content:
            facts = json.loads(content.metadata()[METADATA])
            names = content.keys()
            tensors = {name: content.get_tensor(name) for name in names if name.startswith("decoder.")}
        if sum(tensor.size for tensor in tensors.values()) > MOST_WEIGHTS:
            return None
        shape = tuple(facts["image_shape"])
        modules: dict[tuple[int, ...], dict[str, NDArray[Any]]] = {}
        for name, tensor in tensors.items():
            _, *path, kind = name.split(".")
            modules.setdefault(tuple(map(int, path)), {})[kind] = tensor.astype(np.float64)
        layers: list[Layer] = []
        for _, module in sorted(modules.items()):
            if "running_mean" in module:
                scale = module["weight"] / np.sqrt(module["running_var"] + BATCH_NORM_EPS)
                weight, bias = layers.pop()
                layers.append((weight * scale[:, None], (bias - module["running_mean"]) * scale + module["bias"]))
            else:
                layers.append((module["weight"], module["bias"]))
        if window := facts["recipe"].get("window"):
            layers.append(widened(layers.pop(), window, shape))
        sizes = [2] + [len(bias) for _, bias in layers]
        fits = [weight.shape for weight, _ in layers] == list(zip(sizes[1:], sizes[:-1], strict=True))
        return Decoder(layers, shape) if fits and layers and sizes[-1] == math.prod(shape) else None
    except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError):
        return None
