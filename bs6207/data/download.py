"""Download MNIST into a folder: `python -m bs6207.data.download FOLDER`.

A process of its own, so that whoever waits for it can stop waiting, and so that only a download imports torchvision.
"""

import sys
from urllib.request import Request, urlopen

KNOCK = "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz"  # torchvision's first mirror
KNOCK_SECONDS = 5.0

if __name__ == "__main__":
    urlopen(Request(KNOCK, method="HEAD"), timeout=KNOCK_SECONDS).close()  # no network: say so before torchvision loads
    from torchvision.datasets import MNIST

    MNIST(sys.argv[1], download=True)
