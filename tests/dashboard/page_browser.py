"""The page of a run in headless Chromium: the server in a thread, the browser, the hand."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from vitreous.training.run import Run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="vitreous[dashboard] is not installed")

from vitreous.dashboard.app import build_app  # noqa: E402
from vitreous.dashboard.guard import Keys  # noqa: E402
from vitreous.dashboard.serve import free_socket  # noqa: E402
from vitreous.dashboard.session import Session  # noqa: E402

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
# WebGL on the processor; as root, Chromium has no sandbox to offer.
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
READY = "document.body.dataset.ready"


@dataclass
class Served:
    """A run, the link and the address of its page."""

    run: Run
    link: str

    @property
    def address(self) -> str:
        return self.link.partition("?")[0]


@contextmanager
def serving(run: Run) -> Iterator[Served]:
    """Serve a run from a thread."""
    held, keys = free_socket(0), Keys()
    with Session(run.path) as session:
        config = uvicorn.Config(build_app(session, keys), log_level="error", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
        thread.start()
        yield Served(run, f"http://127.0.0.1:{held.getsockname()[1]}/?token={keys.token}")
        server.should_exit = True
        thread.join(timeout=20)


@contextmanager
def browsing(served: Served):
    """Start Chromium and let it follow the link."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(30_000)
        first = context.new_page()
        first.goto(served.link)
        first.close()
        yield context
        browser.close()


def open_page(context, served: Served, query: str = "", before: str = ""):
    """Open the page and wait until its points are drawn; `faults` are its scripts' errors."""
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    if before:
        page.add_init_script(before)
    page.goto(served.address + query)
    wait_until(page, READY)
    return page


def place(page, particle: int) -> tuple[float, float]:
    """Find where a particle is drawn on the screen."""
    box = page.locator(".stage").bounding_box()
    script = """i => {
      const { plot } = document.querySelector('.stage');
      return plot.project(plot.x[i], plot.y[i]);
    }"""
    x, y = page.evaluate(script, particle)
    return box["x"] + x, box["y"] + y


def draw_lasso(page, corners: list[tuple[float, float]]) -> None:
    """Draw a lasso through points given as fractions of the plot, and wait for its selection."""
    clear = page.get_by_role("button", name="Clear", exact=True).first
    if clear.is_enabled():
        clear.click()
    wait_for_size(page, "none selected")
    box = page.locator(".stage").bounding_box()
    at = [(box["x"] + fx * box["width"], box["y"] + fy * box["height"]) for fx, fy in corners]
    page.keyboard.press("l")
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y)
    page.mouse.up()
    page.keyboard.press("v")
    wait_for_size(page, "selected ·")


def wait_until(page, script: str, argument: object = None) -> None:
    """Wait until a script gives true.

    Playwright's own waiting compiles the script in the page, which the page's policy forbids.
    """
    end = time.monotonic() + 30
    while not page.evaluate(script, argument):
        if time.monotonic() > end:
            raise TimeoutError(script)
        page.wait_for_timeout(30)


def wait_for_size(page, text: str) -> None:
    """Wait until the selection's size says `text`."""
    script = "text => document.querySelector('.size').textContent.includes(text)"
    wait_until(page, script, text)


def selected(page) -> int:
    """Read the selection's size."""
    return int(re.sub(r"\D", "", page.locator(".size b").inner_text()))


def film_frames(path: Path) -> np.ndarray:
    """Read a film as grey pictures of 96²."""
    words = ["-vf", "scale=96:96", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), *words]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, 96, 96).astype(np.float32)
