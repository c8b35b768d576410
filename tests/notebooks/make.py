"""`python tests/notebooks/make.py` writes three_stories.ipynb from the cells below."""

from pathlib import Path
from textwrap import dedent

import nbformat

FILE = Path(__file__).with_name("three_stories.ipynb")
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
CELLS = [
    (
        "markdown",
        """
        # Three questions of a deep-learning course

        How tall a bump can an optimizer escape? How many dimensions does a digit need before the ten classes separate?
        What does a discriminator add to L1 when restoring a blurred image? `bs6207` answers each by a function, and by
        a command of the same name. This notebook takes two minutes on two cores, on 5,000 digits that come with the
        package. The answers of full runs are in the [README](../../README.md).
        """,
    ),
    (
        "code",
        """
        import bs6207
        from bs6207.data.sources import embedded_digits

        digits = embedded_digits()
        digits.train.pixels.shape
        """,
    ),
    (
        "markdown",
        """
        ## bump: how tall a bump can an optimizer escape?

        A result shows its table, the sentences that say how to read it, and its main figures. Its `metrics` are those
        of `metrics.json`, its `tables` pandas DataFrames.
        """,
    ),
    ("code", "bump = bs6207.bump.run()\nbump"),
    (
        "code",
        """
        paths = bump.tables["trajectories"].pivot(index="step", columns="optimizer", values="x")
        paths.head(8)
        """,
    ),
    (
        "code",
        """
        import torch


        class SignDescent(torch.optim.Optimizer):
            def __init__(self, params, lr=0.3):
                super().__init__(params, {"lr": lr})

            @torch.no_grad()
            def step(self):
                for group in self.param_groups:
                    for x in group["params"]:
                        x -= group["lr"] * x.grad.sign()


        bs6207.bump.run(optimizer=["adam", SignDescent]).figure("thresholds")
        """,
    ),
    (
        "markdown",
        """
        ## latent: how many dimensions does a digit need?

        Settings are those of the command: `bs6207 latent --dims 2 4 8 --recipe fast`. Without `out=` nothing is
        written, and `save` fills the command's folder later.
        """,
    ),
    (
        "code",
        """
        latent = bs6207.latent.run(dims=[2, 4, 8], data="mnist-5k", recipe="fast", epochs=4, skip_probes=True)
        latent
        """,
    ),
    (
        "code",
        """
        scores = latent.tables["scores"]
        scores.loc[scores["vectors"] == "autoencoder"].dropna(axis="columns", how="all")
        """,
    ),
    (
        "code",
        """
        from sklearn.metrics import adjusted_rand_score

        clusterer = bs6207.latent.LatentClusterer(n_clusters=10, dim=8, recipe="fast", epochs=4)
        clusters = clusterer.fit_predict(digits.train.pixels)
        adjusted_rand_score(digits.train.labels, clusters)
        """,
    ),
    (
        "markdown",
        """
        ## deblur: what does a discriminator add to L1?

        The classical methods are told the blur; the two networks, L1 and L1 + disc, are not.
        """,
    ),
    (
        "code",
        """
        deblur = bs6207.deblur.run(config="quick", data="mnist-5k", train_images=300, epochs=8, test_images=50)
        deblur
        """,
    ),
    (
        "code",
        """
        restorer = bs6207.deblur.Restorer(epochs=3, batch_size=16).fit(digits.train.pixels[:400])
        restorer.history_[-1]
        """,
    ),
    (
        "code",
        """
        import matplotlib.pyplot as plt
        from scipy.ndimage import gaussian_filter

        clear = digits.test.pixels[0, 0]
        blurred = gaussian_filter(clear, 2.0)
        images = {"clear": clear, "blurred": blurred, "restored": restorer.restore(blurred)}
        figure, panels = plt.subplots(1, 3, figsize=(6, 2.2), layout="constrained")
        for axes, (title, image) in zip(panels, images.items(), strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_title(title)
            axes.set_axis_off()
        """,
    ),
    (
        "code",
        """
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            latent.save(f"{folder}/latent")
            model = bs6207.latent.load(f"{folder}/latent", dim=2)
            again = bs6207.load_run(f"{folder}/latent")
        again.metrics == latent.metrics, model.decode([[0.0, 0.0]]).shape
        """,
    ),
]


def notebook() -> nbformat.NotebookNode:
    cells = []
    for number, (kind, text) in enumerate(CELLS):
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(dedent(text).strip())
        cell["id"] = f"cell-{number}"
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)


if __name__ == "__main__":
    nbformat.write(notebook(), FILE)
