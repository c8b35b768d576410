"""Download a data set into a folder: `python -m bs6207.data.download NAME FOLDER`.

A process of its own, so that whoever waits for it can stop waiting, and so that only a download imports torchvision.
"""

import sys
from urllib.request import Request, urlopen

KNOCK = {  # a small file at torchvision's first mirror
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-labels-idx1-ubyte.gz",
}
KNOCK_SECONDS = 5.0


def download(name: str, folder: str) -> None:
    """Fetch and unpack the four files; where what comes is broken, once more."""
    from torchvision.datasets import KMNIST, MNIST, FashionMNIST

    fetch = {"mnist": MNIST, "fashion-mnist": FashionMNIST, "kmnist": KMNIST}[name]
    try:
        fetch(folder, download=True)
    except (RuntimeError, OSError):  # torchvision checks every file, and keeps those that are whole
        fetch(folder, download=True)


if __name__ == "__main__":
    wanted, place = sys.argv[1:]
    # No network: say so before torchvision loads.
    urlopen(Request(KNOCK[wanted], method="HEAD"), timeout=KNOCK_SECONDS).close()
    download(wanted, place)
