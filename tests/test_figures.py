"""How a figure becomes bytes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from bs6207.figures import render


def placed(left):
    """A figure of one picture."""
    figure = Figure()
    figure.add_axes((left, 0.1, 0.6, 0.6)).imshow(np.eye(3))
    return figure


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_what_a_layout_leaves_to_rounding_does_not_change_a_figure(kind):
    assert render(placed(0.2), kind) == render(placed(0.2 + 1e-15), kind)
    assert render(placed(0.2), kind) != render(placed(0.25), kind)
