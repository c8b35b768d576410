"""The restorer as an ONNX file, for programs without torch."""

from importlib.util import find_spec

import torch
from torch import Tensor, nn

from bs6207.deblur.model import Model
from bs6207.deblur.networks import STRIDE
from bs6207.deblur.tiles import with_border
from bs6207.errors import FolderError, SettingsError

NEEDED = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4  # of a pixel in [0, 1]; an 8-bit step is 4e-3
CHECKED = ((1, 4 * STRIDE, 7 * STRIDE), (3, 5 * STRIDE + 1, 3 * STRIDE - 1))  # batch, height, width


class WholeImage(nn.Module):
    """A restorer as `Model.restore` applies it: border pixels are repeated, and the answer lies in [0, 1]."""

    def __init__(self, network: nn.Module, reach: int):
        super().__init__()
        self.network, self.reach = network, reach

    def forward(self, blurred: Tensor) -> Tensor:
        """Restored images, [N, C, H, W]."""
        height, width = blurred.shape[-2:]
        restored = self.network(with_border(blurred, self.reach))
        return restored[..., self.reach : self.reach + height, self.reach : self.reach + width].clamp(0, 1)


def require_onnx() -> None:
    """Check that the libraries are here.

    Raises:
        SettingsError: one is not.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsError(f"--onnx needs {', '.join(missing)}; pip install 'bs6207[onnx]'")


def to_onnx(model: Model, clarity: float) -> tuple[bytes, float]:
    """The network at one clarity as the content of an ONNX file, and its largest difference from torch.

    Its input `blurred` and its output `restored` are [batch, channels, height, width] in [0, 1], every size free but
    the channels; repeating the border, and padding to the network's grid, is part of the graph.

    Raises:
        FolderError: on random images of two other sizes it differs from torch by TOLERANCE or more.
    """
    network = WholeImage(model.network(clarity), model.reach).cpu().eval()
    example = torch.zeros(2, model.channels, 3 * STRIDE + 1, 3 * STRIDE + 2)  # no size that might be taken for fixed
    free = {0: "batch", 2: "height", 3: "width"}
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        input_names=["blurred"],
        output_names=["restored"],
        dynamic_shapes={"blurred": free},
        verbose=False,
    )
    assert program is not None  # as it is where a file name is given to write to
    content = program.model_proto.SerializeToString()
    if (difference := largest_difference(network, content, model.channels)) >= TOLERANCE:
        raise FolderError(
            f"the ONNX file would differ from torch by {difference:.1e}, not less than {TOLERANCE:g}, so it is not "
            "written; try another version of torch or onnxruntime"
        )
    return content, difference


@torch.no_grad()
def largest_difference(network: nn.Module, content: bytes, channels: int) -> float:
    """Between torch and onnxruntime, over random images of two sizes, one of them off the network's grid."""
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    differences = []
    for batch, height, width in CHECKED:
        blurred = torch.rand(batch, channels, height, width, generator=random)
        (restored,) = session.run(None, {"blurred": blurred.numpy()})
        differences.append(float((network(blurred) - torch.from_numpy(restored)).abs().max()))
    return max(differences)
