"""The dashboard's page with a million particles: frames a second while panning, turning, drawing.

A browser without a graphics card by default, as on a shared server: Chromium composes and the page
draws its points on the processor, fewer of them while the view moves. With a card, give
`--flags ""`: then WebGL draws them all. A frame is what `requestAnimationFrame` sees; "drawing" is
the page's own part of it. The browser and the server share the machine's cores.

python benchmarks/dashboard_page.py [--particles 1000000] [--flags=--disable-gpu]
"""

import argparse
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dashboard import make_run
from playwright.sync_api import Page, sync_playwright
from record import machine, print_table, write_json

PAN = """async (frames) => {
  const { plot } = document.querySelector('.stage');
  plot.drawTimes.length = 0;
  const times = [];
  for (let k = 0; k < frames; k++) {
    plot.camera.pan(0.004 * Math.cos(k / 9), 0.004 * Math.sin(k / 9));
    plot.touch();
    times.push(await new Promise(requestAnimationFrame));
  }
  return [times, plot.drawTimes, plot.every, plot.renderer.name];
}"""
WATCH = """() => {
  window.frames_ = [];
  const note = (time) => { window.frames_.push(time); requestAnimationFrame(note); };
  requestAnimationFrame(note);
}"""
RESTED = "!document.querySelector('.stage').plot.moving"


def wait_until(page: Page, script: str) -> None:
    """Wait until a script gives true; the page's policy forbids what Playwright would do."""
    while not page.evaluate(script):
        page.wait_for_timeout(5)


def frames(name: str, times: list[float], **more: Any) -> dict[str, Any]:
    """Summarise frames; the first ten, in which the page finds its pace, apart."""
    gaps = np.diff(times)
    steady = gaps[10:]
    return {
        "what": name,
        "frames_a_second": round(1000 / float(np.mean(steady)), 1),
        "median_ms": round(float(np.median(steady)), 1),
        "95th_ms": round(float(np.quantile(steady, 0.95)), 1),
        "worst_ms": round(float(gaps.max()), 1),
        **more,
    }


def pan(page: Page, name: str, count: int = 150) -> dict[str, Any]:
    """Move the view for a while and time its frames."""
    wait_until(page, RESTED)
    times, drawing, every, renderer = page.evaluate(PAN, count)
    wait_until(page, RESTED)
    drawn = {"drawing_ms": round(float(np.median(drawing[10:])), 1), "one_in": every}
    return frames(name, times, **drawn, renderer=renderer)


def draw_lasso(page: Page) -> tuple[dict[str, Any], float]:
    """Draw a lasso by hand; also how long its selection takes to be shown."""
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.keyboard.press("l")
    page.evaluate(WATCH)
    for k in range(200):
        turn = 2 * math.pi * k / 200
        x = box["x"] + box["width"] * (0.5 + 0.2 * math.cos(turn))
        y = box["y"] + box["height"] * (0.5 + 0.2 * math.sin(turn))
        page.mouse.move(x, y)
        if k == 0:
            page.mouse.down()
    times = page.evaluate("window.frames_.slice()")
    began = time.perf_counter()
    page.mouse.up()
    wait_until(page, "document.querySelector('.size').textContent.includes('selected ·')")
    page.keyboard.press("v")
    return frames("lasso", times), time.perf_counter() - began


def measure(link: str, flags: list[str]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Open the page and do what a user does."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *flags])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(180_000)
        began = time.perf_counter()
        page.goto(link)
        wait_until(page, "document.body.dataset.ready")
        seconds = {"open": time.perf_counter() - began}
        rows = [pan(page, "pan")]
        lasso, seconds["select"] = draw_lasso(page)
        rows += [lasso, pan(page, "pan with a selection")]
        began = time.perf_counter()
        page.select_option("[aria-label='Colour axis']", "pc1")
        wait_until(page, "document.querySelector('.legend-title')?.textContent === 'PC1'")
        seconds["colour"] = time.perf_counter() - began
        for axis, name in (("Z", "z3"), ("Y", "z2"), ("X", "z1")):
            page.select_option(f"[aria-label='{axis} axis']", name)
        page.wait_for_timeout(3000)
        rows.append(pan(page, "turn in depth"))
        seconds["heap_megabytes"] = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        browser.close()
    return rows, {name: round(value, 2) for name, value in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--flags", default="--disable-gpu", help="of Chromium")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), options.particles)
        words = [sys.executable, "-m", "vitreous.cli.main", "dashboard", str(run)]
        server = subprocess.Popen(
            [*words, "--no-browser", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            link = re.search(r"http\S+", server.stdout.readline())
            assert link is not None
            rows, seconds = measure(link[0], options.flags.split())
        finally:
            server.terminate()
            server.wait()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_table(rows, columns)
    print_table([{"what": k, "value": v} for k, v in seconds.items()], ["what", "value"])
    about = {"particles": options.particles, "flags": options.flags, **seconds}
    content = {"machine": machine("playwright"), **about, "frames": rows}
    write_json(options.json, "dashboard_page", content)


if __name__ == "__main__":
    main()
