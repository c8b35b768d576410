"""What does not fit into memory is refused before any work, by a sentence that says what would fit."""

import pytest

from bs6207.deblur import memory as deblur
from bs6207.deblur.settings import DeblurSettings
from bs6207.latent import memory as latent
from bs6207.latent.settings import LatentSettings
from bs6207.runs import memory
from bs6207.runs.memory import Need

GIB = 2**30
MNIST = {"data": "mnist-5k"}
STORIES = {
    "latent": lambda: latent.estimate(latent.Sizes(3500, 5000, 10, 1, 28, 28, False), LatentSettings(**MNIST)),
    "deblur": lambda: deblur.taken(deblur.Sizes(3500, 500, 1000, 1, 28, 28), DeblurSettings(**MNIST)),
}


@pytest.mark.parametrize("command", STORIES)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_does_not_fit_is_refused_with_what_would_and_leaves_nothing_behind(
    main, monkeypatch, tmp_path, command, jobs
):
    needed = STORIES[command]().of(jobs)
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    monkeypatch.setattr("bs6207.runs.run.map_tasks", lambda *_: pytest.fail("work has begun"))
    done = main(command, "--data", "mnist-5k", "--jobs", str(jobs))
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"bs6207: {command} on mnist-5k, images of 28 x 28 pixels, needs about ")
    words = (
        "--jobs 1 needs" if jobs == 2 else "--train-images 1750 needs" if command == "latent" else "images of 22 x 22"
    )
    assert f"can be had; {words}" in sentence
    assert [path.name for path in tmp_path.rglob("*")] == ["outputs", f".{command}.lock"]


def test_a_sweep_is_held_to_the_memory_of_all_that_run_at_once(main, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: STORIES["latent"]().of(1))
    done = main("latent", "--data", "mnist-5k", "--sweep", "lr=0.01,0.02", "--jobs", "2")
    assert done.returncode == 1
    assert "bs6207: a sweep of 2 runs needs about" in done.stderr
    assert "; --jobs 1 needs" in done.stderr


def test_on_a_scheduler_the_memory_of_its_workers_is_not_that_of_this_machine():
    here = deblur.taken(deblur.Sizes(55000, 5000, 1000, 1, 28, 28), DeblurSettings(**MNIST))
    there = DeblurSettings(**MNIST).model_copy(update={"scheduler": "tcp://host:1"})
    assert deblur.taken(deblur.Sizes(55000, 5000, 1000, 1, 28, 28), there).of(2) < here.of(1)


LARGE = {  # GiB: of what was seen to be taken in one process, at least this and at most that is foreseen
    "27 of 600 x 600, as bfloat16": (deblur.Sizes(19, 2, 5, 1, 600, 600), {"precision": "bf16"}, 4.1, 9),
    "30 of 3 megapixels": (deblur.Sizes(22, 2, 6, 3, 1500, 2000), {"precision": "bf16"}, 45, 90),
}


@pytest.mark.parametrize(("sizes", "given", "least", "most"), LARGE.values(), ids=LARGE)
def test_large_pictures_take_what_was_seen(sizes, given, least, most):
    assert least * GIB < deblur.taken(sizes, DeblurSettings(**MNIST, **given)).of(1) < most * GIB


def growing(of, sizes, **changes):
    """Whether more of something takes more memory."""
    return all(of(sizes) < of(sizes._replace(**{name: value})) for name, value in changes.items())


def test_more_and_larger_images_larger_batches_and_more_processes_take_more():
    def of_deblur(sizes, jobs=1, **given):
        return deblur.taken(sizes, DeblurSettings(**MNIST, **given)).of(jobs)

    def of_latent(sizes, jobs=1, **given):
        return latent.estimate(sizes, LatentSettings(**MNIST, **given)).of(jobs)

    sizes = deblur.Sizes(1000, 100, 200, 1, 100, 100)
    assert growing(of_deblur, sizes, train=2000, test=2000, channels=3, height=200, width=200)
    assert of_deblur(sizes) < of_deblur(sizes, jobs=2) < of_deblur(sizes, jobs=2, batch_size=256)
    sizes = latent.Sizes(1000, 1300, 10, 1, 100, 100, False)
    assert growing(
        of_latent, sizes, train=2000, all=2600, classes=900, channels=3, height=200, width=200, have_files=True
    )
    assert of_latent(sizes) < of_latent(sizes, clusterer=["graph"]) == of_latent(sizes._replace(have_files=True))
    assert of_latent(sizes) < of_latent(sizes, jobs=2) < of_latent(sizes, jobs=2, clusterer=["best"])
    assert of_latent(sizes) < of_latent(sizes, arch="conv")


def test_what_is_offered_instead_takes_less_and_less():
    for offered in (
        deblur.less(deblur.Sizes(1000, 100, 200, 1, 100, 100), DeblurSettings(**MNIST)),
        latent.alternatives(latent.Sizes(1000, 1300, 10, 1, 100, 100, False), LatentSettings(**MNIST)),
    ):
        words, needs = zip(*offered, strict=True)
        assert all(isinstance(need, Need) for need in needs)
        assert needs[-1].of(1) < needs[0].of(1)
        assert len(set(words)) == len(words) > 10
