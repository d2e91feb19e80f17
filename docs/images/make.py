"""Takes the README's pictures of a study's page anew: light, dark, on a phone and in print.

    python docs/images/make.py reports/ner_medical.html

Needs playwright, which the extra `dev` brings, and a Chromium: the system's, or playwright's own.
Each picture is the first screen, twice as fine as on paper if the file stays small enough.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: No picture is larger than this, in bytes.
LIMIT = 300_000

#: Whether each chart of the first screen is drawn.
DRAWN = """() => [...document.querySelectorAll('.plot')].filter(
  plot => plot.checkVisibility()).every(
  plot => plot.getBoundingClientRect().top > innerHeight || plot.querySelector('.main-svg'))"""


class View(NamedTuple):
    """One picture: its name, its size in pixels of CSS, and how the page is shown."""

    name: str
    width: int
    height: int
    scheme: str = "light"
    media: str = "screen"
    margin: int = 0  # of paper, in pixels


VIEWS = (
    View("light", 1200, 900),
    View("dark", 1200, 900, scheme="dark"),
    View("phone", 360, 780),
    View("print", 794, 1123, media="print", margin=53),  # A4 and its 14 mm, at 96 dpi
)


def take(browser: Browser, page: Path, view: View) -> bytes:
    """A PNG of the page's first screen, as fine as the limit allows.

    Raises:
        SystemExit: it is too large even at one pixel a pixel.
    """
    for scale in (2, 1):
        context = browser.new_context(
            viewport={"width": view.width, "height": view.height},
            device_scale_factor=scale,
            color_scheme="dark" if view.scheme == "dark" else "light",
        )
        sheet = context.new_page()
        sheet.emulate_media(media="print" if view.media == "print" else "screen")
        sheet.goto(page.as_uri())
        # Of paper's margin the screen knows nothing.
        sheet.evaluate("margin => { document.body.style.padding = margin + 'px'; }", view.margin)
        # Charts are drawn when they come near, as wide as the page was then.
        sheet.evaluate("dispatchEvent(new Event('resize'))")
        sheet.wait_for_function(DRAWN)
        png = sheet.screenshot()
        context.close()
        if len(png) < LIMIT:
            return png
    raise SystemExit(f"{view.name}.png would have {len(png)} bytes, {LIMIT} are allowed")


def checked(text: str) -> Path:
    """The path of a study's page.

    Raises:
        ArgumentTypeError: there is none.
    """
    page = Path(text)
    if not page.is_file():
        raise argparse.ArgumentTypeError(
            f"there is no file {text}; python -m harness report STUDY writes one"
        )
    if '<section id="verdict"' not in page.read_text(encoding="utf-8", errors="replace"):
        raise argparse.ArgumentTypeError(f"{text} is not a study's page")
    return page.resolve()


def main() -> None:
    """Takes all pictures, then writes them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=checked, metavar="STUDY_HTML", help="a study's report")
    given = parser.parse_args()
    try:
        from playwright.sync_api import Error, sync_playwright
    except ModuleNotFoundError:
        parser.error("playwright is missing: pip install -e '.[dev]'")
    with sync_playwright() as playwright:
        options: dict[str, Any] = {
            "executable_path": next(filter(None, map(shutil.which, NAMES)), None),
            "args": ["--no-sandbox"] if os.geteuid() == 0 else [],
        }
        try:
            browser = playwright.chromium.launch(**options)
        except Error as error:
            reason = str(error).splitlines()[0]
            parser.error(f"no browser: {reason}; on Debian: apt-get install chromium")
        taken = {view.name: take(browser, given.page, view) for view in VIEWS}
        browser.close()
    for name, png in taken.items():
        file = FOLDER / f"{name}.png"
        file.write_bytes(png)
        print(f"{file}: {len(png) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
