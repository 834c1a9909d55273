"""The page in a real browser: seeking, filtering, keyboard, boxes on the picture, and an hour with twenty persons."""

import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from src.predict.page import write_page
from src.predict.parts import KeyFrame, Part
from src.predict.results import VideoResult
from src.predict.timeline import Action

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (tests/requirements.txt)")

WIDTH, HEIGHT, FPS, SECONDS = 320, 180, 10, 8
LABELS = {1: "walk", 2: "跑 </script><!--<script> & run", 3: "sit"}
MODEL = {"name": "slowfast.onnx", "recipe": "described in slowfast.json"}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium as the system has it; without one the tests are skipped."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on PATH (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as tools:
        # Root, as in containers, has no sandbox.
        browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def square_at(second: float) -> tuple[float, float, float, float]:
    """Where the white square of the video is, normalized."""
    left = 0.1 + 0.08 * second
    return left, 0.3, left + 0.15, 0.7


def write_video(path: Path, pixel_aspect: int = 1) -> None:
    """A white square that moves to the right on black, as VP9, which every build of Chromium plays."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS)
        stream.codec_context.sample_aspect_ratio = Fraction(pixel_aspect)
        for index in range(FPS * SECONDS):
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            x1, y1, x2, y2 = np.round(np.array(square_at(index / FPS)) * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(int)
            image[y1:y2, x1:x2] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))


def result_of(name: str, seconds: int, boxes: dict[int, Callable], actions: list[Action], media: str) -> VideoResult:
    """A result with persons that are seen five times a second."""
    times = np.arange(seconds * 5) / 5
    rows = [(time, track, *box(time), 0.9) for time in times for track, box in boxes.items()]
    tracks = np.array(list(boxes))
    frame = KeyFrame(0.0, tracks, np.zeros((len(tracks), 4)), np.ones(len(tracks)), np.zeros((len(tracks), 3)))
    image = cv2.imencode(".jpg", np.full((96, 60, 3), 90, np.uint8))[1].tobytes()
    part = Part(0.0, [frame], np.array(rows), dict.fromkeys(boxes, image))
    return VideoResult(name, "video.mp4", part, actions, 0.0, float(seconds), WIDTH, HEIGHT, media)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one video with two persons: number 0 is the square, number 1 stands to the right of it."""
    folder = tmp_path_factory.mktemp("page")
    write_video(folder / "video.mp4")
    actions = [Action(0, 1, 0.5, 3.5, 0.9), Action(0, 2, 4.5, 6.5, 0.6), Action(1, 3, 1.0, 7.0, 0.4)]
    boxes = {0: square_at, 1: lambda _: (0.9, 0.1, 0.98, 0.2)}
    write_page(folder / "index.html", [result_of("<b>clip", SECONDS, boxes, actions, "video.mp4")], LABELS, MODEL, 0.3)
    return folder / "index.html"


@pytest.fixture
def opened(browser: object, page_file: Path) -> Iterator[Callable]:
    """Return a function that opens a page; whatever the page writes to the console fails the test."""
    complaints: list[str] = []
    pages = []

    def _note_online(url: str) -> None:
        if not url.startswith(("file:", "data:")):
            complaints.append(f"asks for {url}")

    def open_page(width: int = 1280, path: Path = page_file) -> object:
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
        page.on("request", lambda request: _note_online(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('video').readyState >= 2")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def second_of(page: object) -> float:
    page.wait_for_function("!document.getElementById('video').seeking")
    return page.evaluate("document.getElementById('video').currentTime")


def drawn_again(page: object) -> None:
    """Wait until the page has drawn what it was asked to."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def bars_of(page: object) -> list[tuple[int, float]]:
    """Class and score of every bar that is drawn."""
    drawn_again(page)
    return sorted(map(tuple, page.evaluate("[...drawn.values()].flat().map(bar => [bar[3][0], bar[3][3]])")))


def test_names_and_model_stand_on_the_page_as_text(opened: Callable) -> None:
    page = opened()
    assert page.inner_text("#title") == "<b>clip"
    assert page.inner_text("#model").startswith("Scored by slowfast.onnx (described in slowfast.json).")
    assert LABELS[2] in page.inner_text("#chips")
    assert "nobody is recognized" in page.inner_text("footer").replace("\n", " ")


def test_any_name_of_a_video_is_found_beside_the_page(opened: Callable, page_file: Path, tmp_path: Path) -> None:
    name = "is 50%25 #1? & “done” 😀.webm"
    shutil.copyfile(page_file.with_name("video.mp4"), tmp_path / name)
    boxes = {1234: square_at}
    write_page(tmp_path / "index.html", [result_of("one", SECONDS, boxes, [], name)], LABELS, MODEL, 0.3)
    page = opened(400, tmp_path / "index.html")
    assert page.evaluate("document.getElementById('video').duration") == SECONDS


def test_a_click_on_the_timeline_seeks(opened: Callable) -> None:
    page = opened()
    box = page.locator(".row canvas").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 30)
    assert second_of(page) == pytest.approx(6, abs=0.05)
    box = page.locator("#heat").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 10)
    assert second_of(page) == pytest.approx(2, abs=0.05)


def test_a_second_lies_in_one_line_beside_a_scrollbar(opened: Callable) -> None:
    page = opened()
    # Headless browsers draw scrollbars over the content; a border takes as much room.
    page.evaluate("rows.style.borderRight = '15px solid'; schedule()")
    drawn_again(page)
    row, axis = (page.locator(where).first.bounding_box() for where in (".row canvas", "#axis"))
    assert (row["x"], row["width"]) == (axis["x"], axis["width"])


def test_labels_of_persons_that_stand_close_do_not_cover_each_other(opened: Callable) -> None:
    page = opened()
    taken = [[0, 0, 40, 20]]
    assert page.evaluate("taken => freePlace([0, 0, 50, 50], 40, 20, 200, 200, taken)", taken) == [0, 30, 40, 50]
    assert page.evaluate("freePlace([-5, 190, 50, 230], 40, 20, 200, 200, [])") == [0, 180, 40, 200]


def test_sound_is_off_until_it_is_asked_for(opened: Callable) -> None:
    page = opened()
    assert page.evaluate("document.getElementById('video').muted")
    page.check("#sound")
    assert not page.evaluate("document.getElementById('video').muted")


def test_filters_leave_out_bars(opened: Callable) -> None:
    page = opened()
    assert bars_of(page) == [(1, 0.9), (2, 0.6), (3, 0.4)]
    page.click("#chips button[data-class='1']")
    assert bars_of(page) == [(2, 0.6), (3, 0.4)]
    page.click("#chips button[data-class='1']")
    page.fill("#score", "0.5")
    assert bars_of(page) == [(1, 0.9), (2, 0.6)]
    page.fill("#score", "0.3")
    page.select_option("#person", "1")
    assert bars_of(page) == [(3, 0.4)]
    assert page.locator(".row").count() == 1


def test_a_bar_tells_what_it_is(opened: Callable) -> None:
    page = opened()
    box = page.locator(".row canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 10)
    assert page.inner_text("#tip") == "walk, 00:00 to 00:03, score 0.90"
    page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + 10)
    assert page.locator("#tip").is_hidden()


def test_keys_play_seek_and_choose(opened: Callable) -> None:
    page = opened()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert second_of(page) == pytest.approx(2, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert second_of(page) == pytest.approx(1, abs=0.01)
    page.keyboard.press(" ")
    page.wait_for_function("document.getElementById('video').currentTime > 1.2")
    page.keyboard.press(" ")
    assert page.evaluate("document.getElementById('video').paused")
    page.keyboard.press("ArrowDown")
    assert page.locator(".row.chosen").evaluate("row => row.person.track") == 0
    page.keyboard.press("ArrowDown")
    assert page.locator(".row.chosen").evaluate("row => row.person.track") == 1
    page.keyboard.press("+")
    assert page.evaluate("view[1] - view[0]") == pytest.approx(4)
    page.keyboard.press("-")
    assert page.evaluate("view") == [0, 8]


def test_a_key_presses_what_has_the_focus_and_the_mouse_leaves_none_behind(opened: Callable) -> None:
    page = opened()
    paused = "document.getElementById('video').paused"
    page.focus("#boxes")
    page.keyboard.press("Space")
    chip = page.locator("#chips button").first
    chip.focus()
    page.keyboard.press("Space")
    assert (page.is_checked("#boxes"), chip.get_attribute("aria-pressed"), page.evaluate(paused)) == (
        False,
        "false",
        True,
    )
    chip.click()
    page.keyboard.press("Space")
    page.wait_for_function(f"!{paused}")
    assert chip.get_attribute("aria-pressed") == "true"


def test_a_printed_page_is_dark_on_white_and_has_every_row(opened: Callable, tmp_path: Path) -> None:
    boxes = {track: lambda _: (0.1, 0.1, 0.2, 0.2) for track in range(40)}
    write_video(tmp_path / "video.mp4")
    result = result_of("clip", SECONDS, boxes, [Action(39, 1, 0.0, 8.0, 0.9)], "video.mp4")
    write_page(tmp_path / "index.html", [result], LABELS, MODEL, 0.3)
    page = opened(path=tmp_path / "index.html")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    column = page.locator(".row canvas").last.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(20, 0, 1, 40).data]"
    )
    assert max(column[3::4]) > 200  # opaque: a bar
    page.emulate_media(media="print")
    style = "(() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]; })()"
    assert page.evaluate(style) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert page.evaluate("rows.scrollHeight === rows.clientHeight")


@pytest.mark.parametrize(("width", "pixel_aspect"), [(1280, 1), (400, 1), (1280, 2)])
def test_boxes_lie_on_the_persons(
    opened: Callable, page_file: Path, tmp_path: Path, width: int, pixel_aspect: int
) -> None:
    shutil.copy(page_file, tmp_path)
    write_video(tmp_path / "video.mp4", pixel_aspect)
    page = opened(width, tmp_path / "index.html")
    page.select_option("#person", "0")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for second in (1.05, 2.55, 6.05):
        page.evaluate(f"seek({second})")
        second_of(page)
        drawn_again(page)
        shot = cv2.imdecode(np.frombuffer(page.locator("#frame").screenshot(), np.uint8), cv2.IMREAD_COLOR)
        page.evaluate("document.getElementById('boxes').click()")
        drawn_again(page)
        bare = cv2.imdecode(np.frombuffer(page.locator("#frame").screenshot(), np.uint8), cv2.IMREAD_COLOR)
        page.evaluate("document.getElementById('boxes').click()")
        square = _extent(bare.min(axis=2) > 128)
        drawn = np.abs(shot.astype(int) - bare).max(axis=2) > 60
        # Text lies above and at the right: the lowest line tells where left, right and bottom are.
        bottom = np.flatnonzero(drawn.any(axis=1))[-1]
        left, _, right, _ = _extent(drawn[bottom - 1 : bottom + 1])
        # At 10 frames a second the picture may be 0.05 s from the clock: 0.004 of the width; lines are 2 pixels wide.
        slack = 3 + 0.004 * shot.shape[1]
        np.testing.assert_allclose((left, right, bottom), (square[0], square[2], square[3]), atol=slack)
        np.testing.assert_allclose(np.flatnonzero(drawn[:, int(left) + 1])[0], square[1], atol=slack)


def _extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return x1 y1 x2 y2 of what is set."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_an_hour_with_twenty_persons_stays_fluid(opened: Callable, page_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hour, boxes, actions = 3600, {}, []
    for track in range(20):
        x, y = rng.uniform(0, 0.8, 2)
        boxes[track] = lambda time, x=x, y=y: (x, y, x + 0.05 + 0.01 * np.sin(time), y + 0.2)
        starts = np.sort(rng.choice(hour - 10, 600, replace=False))
        actions += [
            Action(track, int(rng.integers(1, 4)), float(start), float(start + rng.integers(1, 10)), float(score))
            for start, score in zip(starts, rng.uniform(0.3, 1, len(starts)), strict=True)
        ]
    shutil.copyfile(page_file.with_name("video.mp4"), tmp_path / "video.mp4")
    write_page(tmp_path / "index.html", [result_of("hour", hour, boxes, actions, "video.mp4")], LABELS, MODEL, 0.3)
    page = opened(path=tmp_path / "index.html")
    took, playing = (
        page.evaluate(
            """code => {
                const times = [], work = new Function("step", code);
                for (let step = 0; step < 40; step++) {
                    const start = performance.now();
                    work(step);
                    times.push(performance.now() - start);
                }
                return times.sort((a, b) => a - b);
            }""",
            code,
        )
        for code in ("zoom(step < 20 ? 0.9 : 1.1, 1800); refresh()", "drawOverlay(); drawNeedle()")
    )
    print(f"refresh {took[20]:.1f} ms, at most {took[-1]:.1f}; a frame of playback {playing[20]:.2f} ms")
    assert page.locator(".row").count() == 20
    # Medians, so that a busy machine does not decide: 30 frames a second while the view changes, 60 while it plays.
    assert took[20] < 33
    assert playing[20] < 16
