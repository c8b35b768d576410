"""What the labels of a data set stand for, what to call one, and whether there is anything to tell apart."""

from collections.abc import Sequence

import numpy as np

from bs6207.data.images import DataSet, ImageSet

DIGITS = tuple("0123456789")


def class_names(data: DataSet) -> tuple[str, ...]:
    """The name of every class, by label; empty where the images have no labels."""
    return () if data.test.labels is None else data.classes


def noun(names: Sequence[str]) -> str:
    """What one of the classes is called; also the name of its column."""
    return "digit" if tuple(names) == DIGITS else "class"


def unscored(learn: ImageSet, test: ImageSet) -> str | None:
    """Why clusters and probes cannot be scored against the classes; None where they can be."""
    for kind, images in (("training", learn), ("test", test)):
        if images.labels is None:
            return "the images have no labels"
        if len(np.unique(images.labels)) < 2:
            return f"all {kind} images are of one class"
    return None
