"""The page in a headless browser, from its file and without a network, as people use it."""

import base64
import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import arrays
from page.browsing import wait_for_frame
from page.made_runs import made_run
from PIL import Image
from playwright.sync_api import expect

import bs6207
from bs6207.bump import threshold

PICTURE = "canvas => canvas.toDataURL()"

pytestmark = pytest.mark.xdist_group("browser")


def explorer(page, kind):
    return page.locator(f"[data-explorer={kind}]").first


def shown_height(root):
    return float(root.locator("[data-out=h_max]").inner_text())


def walk(root, optimizer, **settings):
    """Choose an optimizer and type its settings."""
    root.locator(f"input[value={optimizer}]").check()
    for name, value in settings.items():
        root.locator(f"[data-exact={name}]").fill(str(value))


WALKS = [
    ("gd", {"lr": 0.3}),
    ("gd", {"lr": 0.123, "distance": 1.37}),
    ("momentum", {"lr": 0.3, "momentum": 0.9}),
    ("momentum", {"lr": 0.07, "momentum": 0.53, "distance": 0.8}),
    ("nesterov", {"lr": 0.3, "momentum": 0.9}),
    ("nesterov", {"lr": 0.21, "momentum": 0.77, "distance": 2.1}),
    ("adam", {"lr": 0.3, "beta1": 0.9, "beta2": 0.999}),
    ("adam", {"lr": 0.17, "beta1": 0.62, "beta2": 0.95, "distance": 1.11}),
    ("rmsprop", {"lr": 0.3, "alpha": 0.99}),
    ("rmsprop", {"lr": 0.11, "alpha": 0.8, "momentum": 0.4, "distance": 1.9}),
]


def test_the_height_shown_is_the_commands_for_every_optimizer(page):
    root = explorer(page, "bump")
    for optimizer, settings in WALKS:
        walk(root, optimizer, **settings)
        expected = threshold(optimizer, **{"distance": 1.0} | settings)
        assert shown_height(root) == pytest.approx(expected["h_max"], abs=1e-12), (optimizer, settings)
        assert page.evaluate("root => root.found.step", root.element_handle()) == expected["step"]
        root.locator("[data-do=reset]").click()


def test_the_page_begins_at_the_settings_of_the_run(page, outputs):
    found = json.loads((outputs / "bump/metrics.json").read_text())["optimizers"]
    root = explorer(page, "bump")
    for optimizer in ("gd", "momentum", "adam"):
        walk(root, optimizer)
        assert shown_height(root) == pytest.approx(found[optimizer]["h_max"], abs=1e-12)
    with (outputs / "bump/trajectories.csv").open() as file:
        path = [float(row["x"]) for row in csv.DictReader(file) if row["optimizer"] == "adam"]
    assert page.evaluate("root => root.path", root.element_handle()) == pytest.approx(path, abs=1e-9)


def test_moving_a_slider_redraws_the_path_and_the_height(page):
    root = explorer(page, "bump")
    walk(root, "adam")
    route, before = root.locator(".landscape .route"), shown_height(root)
    drawn = route.get_attribute("points")
    slider = root.locator("[data-range=lr]")
    slider.focus()
    for _ in range(7):
        slider.press("ArrowRight")
    rate = float(root.locator("[data-exact=lr]").input_value())
    assert rate == pytest.approx(0.307)
    assert route.get_attribute("points") != drawn
    assert shown_height(root) != before
    assert shown_height(root) == pytest.approx(threshold("adam", lr=rate)["h_max"], abs=1e-12)
    root.locator("[data-exact=height]").fill("0.5")
    assert "caught" in root.locator("[data-out=verdict]").inner_text()


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov", "adam", "rmsprop"])
def test_a_bump_as_high_as_is_shown_is_escaped_and_one_a_little_higher_is_not(page, optimizer):
    root, verdict = explorer(page, "bump"), page.locator("[data-out=verdict]").first
    walk(root, optimizer)
    shown = root.locator("[data-out=h_max]").inner_text()
    root.locator("[data-exact=height]").fill(shown)
    assert f"escapes a bump {shown} high" in verdict.inner_text()
    root.locator("[data-exact=height]").fill(str(float(shown) + 5e-13))
    assert "caught" in verdict.inner_text()
    assert "rounding" in verdict.inner_text()


def test_what_is_refused_goes_and_the_runs_optimizer_comes_back(page):
    root = explorer(page, "bump")
    begun = root.locator("input[type=radio]:checked").get_attribute("value")
    height = root.locator("[data-exact=height]")
    before = height.input_value()
    height.fill("-1")
    height.press("Tab")
    assert height.input_value() == before
    walk(root, "rmsprop", height=0.7)
    root.locator("[data-do=reset]").click()
    assert root.locator("input[type=radio]:checked").get_attribute("value") == begun
    assert height.input_value() == before


def test_a_figure_grows_where_it_is_clicked_and_shrinks_again(shown):
    button = shown.locator("[data-enlarge]").first
    narrow = button.locator("img").bounding_box()["width"]
    button.click()
    assert button.locator("img").bounding_box()["width"] > 1.3 * narrow
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.locator("img").bounding_box()["width"] == narrow


def test_a_drag_stays_with_the_picture_it_began_on(page):
    root = explorer(page, "deblur")
    canvas, wipe = root.locator("canvas.wipe"), root.locator("[data-range=wipe]")
    canvas.scroll_into_view_if_needed()
    box, shares = canvas.bounding_box(), []
    page.mouse.move(box["x"] + 2, box["y"] + 10)
    page.mouse.down()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 10)
        shares.append(int(wipe.input_value()))
    page.mouse.up()
    assert shares == sorted(shares)
    assert shares[-1] == 100


def test_the_decoder_in_the_page_is_torchs(shown, outputs):
    root = explorer(shown, "plane").element_handle()
    latents = arrays(outputs / "latent/latents_2.npz")["latents"]
    low, high = latents.min(0), latents.max(0)
    places = np.random.RandomState(1).uniform(low, high, (40, 2))
    images = shown.evaluate(
        "([root, places]) => places.map((place) => Array.from(root.decode(place)))", [root, places.tolist()]
    )
    expected = bs6207.latent.load(outputs / "latent", dim=2).decode(places.astype(np.float32)).numpy()
    np.testing.assert_allclose(images, expected.reshape(40, -1), atol=1e-5)
    assert expected.std(axis=0).max() > 0.1


def test_moving_over_the_plane_changes_the_decoded_image(page, outputs):
    root = explorer(page, "plane")
    canvas, decoded = root.locator("canvas.plane"), root.locator("[data-canvas=decoded]")
    canvas.scroll_into_view_if_needed()
    box, seen = canvas.bounding_box(), set()
    model = bs6207.latent.load(outputs / "latent", dim=2)
    for share in (0.2, 0.5, 0.8):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        wait_for_frame(page)
        seen.add(decoded.evaluate(PICTURE))
        place, image = page.evaluate("root => [root.place, Array.from(root.image)]", root.element_handle())
        np.testing.assert_allclose(image, model.decode([place]).numpy().ravel(), atol=1e-5)
    assert len(seen) == 3
    canvas.focus()
    before, place = decoded.evaluate(PICTURE), page.evaluate("root => root.place", root.element_handle())
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowLeft", "Shift+ArrowUp"):
        canvas.press(key)
    wait_for_frame(page)
    moved = page.evaluate("root => root.place", root.element_handle())
    assert moved[0] < place[0]
    assert moved[1] > place[1]
    assert decoded.evaluate(PICTURE) != before


def test_a_test_image_in_the_plane_shows_itself_and_its_digit(page, outputs):
    root = explorer(page, "plane")
    data = json.loads(page.locator("script[data-of]").nth(1).inner_text())["plane"]
    with (outputs / "latent/latents_2.csv").open() as file:
        rows = list(csv.DictReader(file))
    for image in data["images"][:5]:
        row = rows[image]
        for name in ("z1", "z2"):
            root.locator(f"[data-range={name}]").evaluate(
                "(range, value) => { range.value = value; range.dispatchEvent(new Event('input')); }", float(row[name])
            )
            wait_for_frame(page)
        assert f"digit {row['digit']}" in root.locator("[data-out=where]").inner_text()
        named = f"digit {row['digit']}, kmeans cluster {row['kmeans']}"
        assert root.locator("[data-out=nearest]").inner_text().startswith(named)


def test_the_plane_is_recoloured_and_decoded_as_a_whole(page):
    root = explorer(page, "plane")
    canvas = root.locator("canvas.plane")
    by_digit = canvas.evaluate(PICTURE)
    root.locator("input[value=kmeans]").check()
    by_cluster = canvas.evaluate(PICTURE)
    assert by_cluster != by_digit
    assert "cluster 0" in root.locator(".legend").inner_text()
    root.locator("[data-check=map]").check()
    assert canvas.evaluate(PICTURE) not in (by_digit, by_cluster)


def test_the_slider_over_sizes_changes_images_centroids_and_the_row(page):
    root = explorer(page, "sizes")
    strip, chosen = root.locator("[data-canvas=strip]"), page.locator("tr.chosen")
    before, centroid = strip.evaluate(PICTURE), root.locator(".centroids canvas").first.evaluate(PICTURE)
    assert chosen.get_attribute("data-dim") == "2"
    root.locator("[data-range=dim]").press("ArrowRight")
    assert chosen.get_attribute("data-dim") == "4"
    assert strip.evaluate(PICTURE) != before
    assert root.locator(".centroids canvas").first.evaluate(PICTURE) != centroid
    assert root.locator(".centroids li").count() == 10


def test_without_weights_the_plane_is_interpolated_between_what_the_run_has_drawn(visit, outputs, main, tmp_path):
    shutil.copytree(outputs / "latent", tmp_path / "latent")
    (tmp_path / "latent/autoencoder_2_0.safetensors").unlink()
    assert main("report", "latent", "--out", "page.html").returncode == 0
    page = visit(tmp_path / "page.html")
    kept = arrays(tmp_path / "latent/images.npz")
    (low, high), side = kept["plane_ends"], len(kept["plane"])
    root = explorer(page, "plane").element_handle()
    decode = "([root, place]) => Array.from(root.decode(place))"
    for column, row in ((0, 0), (3, 7), (side - 1, side - 1)):
        place = low + np.array([column, row]) / (side - 1) * (high - low)
        image = page.evaluate(decode, [root, place.tolist()])
        np.testing.assert_allclose(image, kept["plane"][row, column].ravel() / 255, atol=1e-5)
    middle = low + np.array([3.5, 7]) / (side - 1) * (high - low)
    expected = (kept["plane"][7, 3] / 255 + kept["plane"][7, 4] / 255) / 2
    np.testing.assert_allclose(page.evaluate(decode, [root, middle.tolist()]), expected.ravel(), atol=1e-5)
    assert "Interpolated" in explorer(page, "plane").inner_text()


def test_wipe_clarity_sigma_and_error_map_change_pixels(page):
    root = explorer(page, "deblur")
    canvas, seen = root.locator("canvas.wipe"), []

    def look():
        seen.append(canvas.evaluate(PICTURE))
        assert len(set(seen)) == len(seen)

    look()
    root.locator("[data-range=wipe]").press("ArrowLeft")
    look()
    root.locator("[data-range=clarity]").press("Home")
    look()
    root.locator("[data-range=clarity]").press("ArrowRight")
    look()
    root.get_by_label("3", exact=True).check()
    look()
    root.locator("[data-check=error]").check()
    look()
    root.get_by_label("the truth").check()
    look()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    look()


def test_the_wipe_leads_from_the_blurred_image_to_the_restored(page, outputs):
    root, kept = explorer(page, "deblur"), arrays(outputs / "deblur/examples.npz")
    wipe = root.locator("[data-range=wipe]")
    for key, expected in (("End", kept["blurred"][1, 0, 0]), ("Home", kept["restored"][-1, 1, 0, 0])):
        root.locator("[data-range=clarity]").press("End")
        wipe.press(key)
        url = root.locator("canvas.wipe").evaluate(PICTURE)
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            shown = np.asarray(picture.convert("L"))
        scale = shown.shape[1] // (3 * 28 + 2 * 2)  # three images and the gaps between them
        np.testing.assert_array_equal(shown[: 28 * scale, : 28 * scale][::scale, ::scale], expected)


REACHABLE = "a[href], button, input, select, summary, [tabindex='0']"


def test_the_keyboard_alone_reaches_everything(page):
    everything = page.evaluate(
        f"""() => [...document.querySelectorAll("{REACHABLE}")].filter((one) => one.checkVisibility()
            && (one.type !== "radio" || one.checked)).map((one, place) => (one.dataset.place = place))"""
    )
    reached = set()
    for _ in range(len(everything) + 40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.place ?? -1)"))
    assert len(everything) > 60
    assert not set(everything) - reached


def test_arrow_keys_move_everything_that_has_the_focus(page):
    for slider in page.locator("input[type=range]:visible").all():
        slider.focus()
        before = slider.input_value()
        slider.press("ArrowLeft")
        if slider.input_value() == before:
            slider.press("ArrowRight")
        wait_for_frame(page)
        assert slider.input_value() != before, slider.get_attribute("id")
    optimizers = explorer(page, "bump").locator("[data-choices=optimizer] input")
    optimizers.nth(3).focus()
    optimizers.nth(3).press("ArrowDown")
    assert optimizers.nth(4).is_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("unfolded", [360, 1280], indirect=True)
def test_axe_finds_no_serious_fault(unfolded, scheme):
    unfolded.emulate_media(color_scheme=scheme)
    expect(unfolded.locator("[data-do=theme]")).to_have_text({"light": "Dark", "dark": "Light"}[scheme])
    found = Axe().run(unfolded).response["violations"]
    faults = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert not faults


@pytest.mark.parametrize("unfolded", [360, 768, 1280, 1920], indirect=True)
def test_nothing_sticks_out_to_the_side(unfolded):
    assert unfolded.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_toggle_turns_light_to_dark_and_back(visit, outputs):
    page = visit(outputs / "report.html", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Switch to light colours").click()
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to dark colours").click()
    assert (light != dark, page.evaluate(ground)) == (True, dark)


def test_a_download_is_the_file_of_the_run(shown, outputs):
    for name in ("metrics.json", "trajectories.csv", "headline.csv"):
        with shown.expect_download() as waiting:
            shown.locator(f"[data-download='{name}']").first.click()
        assert waiting.value.suggested_filename == name
        with open(waiting.value.path(), "rb") as file:  # noqa: PTH123
            assert file.read() == (outputs / "bump" / name).read_bytes()


def test_the_copy_button_copies_the_command(visit, outputs):
    page = visit(outputs / "report.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = page.locator("#said")
    page.locator("[data-copy]").first.click()
    expect(said).to_have_text(re.compile("^(Copied|Selected)$"))  # a script would be refused, rightly
    if said.inner_text() == "Copied":
        assert page.evaluate("navigator.clipboard.readText()") == "bs6207 bump --config outputs/bump/config.toml"
    else:
        assert page.evaluate("String(getSelection())") == "bs6207 bump --config outputs/bump/config.toml"


def test_on_paper_everything_is_unfolded(shown):
    folded = shown.locator("details:not([open])").count()
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert (folded > 10, shown.locator("details:not([open])").count()) == (True, 0)
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details:not([open])").count() == folded
    assert shown.pdf().startswith(b"%PDF")


def test_without_javascript_tables_and_figures_are_there(visit, outputs):
    page = visit(outputs / "report.html", java_script_enabled=False)
    assert page.locator("noscript p").is_visible()
    assert page.locator("table").first.is_visible()
    assert page.locator("img").first.is_visible()
    assert not page.locator("[data-explorer]").first.is_visible()


def test_runs_side_by_side_show_what_differs(visit, main, tmp_path):
    one, other = (made_run(tmp_path / name, "bump", lr=rate) for name, rate in (("one", 0.3), ("other", 0.2)))
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["optimizers"]["adam"]["h_max"] = 0.25
    (other / "metrics.json").write_text(json.dumps(metrics))
    assert main("report", str(one), str(other), "--out", "page.html").returncode == 0
    page = visit(tmp_path / "page.html")
    rows = page.locator(".compare tr.differs")
    assert [row.split("\n")[0].split("\t")[0] for row in rows.all_inner_texts()] == ["lr", "adam: h_max"]
    assert not page.locator(".compare tr.same").first.is_visible()
    page.get_by_label("Show only what differs").uncheck()
    assert page.locator(".compare tr.same").first.is_visible()
    assert page.locator("[data-explorer=bump]").count() == 2


MARKUP = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"{{ 7*7 }}"


def test_hostile_names_and_labels_stay_text(visit, outputs, main, tmp_path):
    """In the folder's name, settings, metrics, remarks, tables and class names."""
    name = "<img src=x onerror=alert(1)>"
    shutil.copytree(outputs / "latent", tmp_path / name)
    folder = tmp_path / name
    (folder / "config.toml").write_text(f"[latent]\nseed = 0\ndata = {json.dumps(MARKUP)}\n")
    (folder / "remarks.txt").write_text(f"{MARKUP}\n")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["data"]["name"] = MARKUP
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for table in ("latents_2.csv", "clusters.csv"):
        rows = list(csv.DictReader(io.StringIO((folder / table).read_text())))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(
            {key: MARKUP if key in ("digit", "name") else value for key, value in row.items()} for row in rows
        )
        (folder / table).write_text(stream.getvalue())
    bump = made_run(tmp_path / "javascript:alert(1)", "bump")
    metrics = json.loads((bump / "metrics.json").read_text())
    metrics["optimizers"][MARKUP] = metrics["optimizers"]["gd"]
    (bump / "metrics.json").write_text(json.dumps(metrics))
    (bump / "env.json").write_text(json.dumps({"argv": ["bs6207", MARKUP], "platform": MARKUP}))
    done = main("report", name, "javascript:alert(1)", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    page = visit(tmp_path / "page.html")
    for root in ("plane", "sizes"):
        for choice in explorer(page, root).locator("input[type=radio]").all():
            choice.check()
    explorer(page, "plane").locator("input[value=digit]").check()
    wait_for_frame(page)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert page.title() == "bs6207: bump, latent"
    assert page.locator("img:not([src^='data:image/webp'])").count() == 0
    assert page.evaluate("document.scripts.length") == 1 + 2 * 2
    assert MARKUP in explorer(page, "plane").locator(".legend").inner_text()
    assert "49" not in explorer(page, "plane").locator(".legend").inner_text()
