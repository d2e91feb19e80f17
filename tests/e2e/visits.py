"""One page opened in a browser, with all that it said, asked for and popped up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

#: Visible elements outside the view at either side. What scrolls in a frame of its own is let be,
#: as is what plotly measures texts in, and what it drags axes by, which charts clip.
_OVER = """() => [...document.querySelectorAll('body *')]
  .filter(one => one.checkVisibility())
  .filter(one => !one.closest('.scroll > *, pre > *, .skip, #js-plotly-tester, .draglayer'))
  .filter(one => {
    const box = one.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    return box.width > 0 && (box.left < -0.5 || box.right > wide + 0.5);
  })
  .map(one => `${one.closest('[id]')?.id}: ${one.outerHTML.slice(0, 120)}`)"""


#: Goes through the page as a reader does, until each visible chart is drawn.
_DRAW = """async () => {
  for (const plot of document.querySelectorAll('.plot')) {
    if (!plot.checkVisibility()) continue;
    plot.scrollIntoView();
    while (!plot.querySelector('.main-svg')) await new Promise(requestAnimationFrame);
  }
  scrollTo(0, 0);
}"""


class Visit:
    """One page opened, with all that it said and asked for.

    Attributes:
        page: the open page.
        said: messages on the console and errors.
        asked: addresses that were asked for, its own first.
        popped: texts of dialogs that came up.
    """

    def __init__(
        self, browser: Browser, path: Path, width: int = 1280, dark: bool = False
    ) -> None:
        """Opens a page at a width in pixels, in light or dark colours."""
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.popped: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", self._dismiss)
        self.page.goto(path.as_uri())

    def _dismiss(self, dialog: Dialog) -> None:
        self.popped.append(dialog.message)
        dialog.dismiss()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def ask(self, script: str, argument: Any = None) -> Any:
        """What a script answers on the page."""
        return self.page.evaluate(script, argument)

    def unfold(self) -> None:
        """Opens all that is folded away."""
        self.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    def draw(self) -> None:
        """Opens all that is folded away and has each visible chart drawn."""
        self.unfold()
        self.ask(_DRAW)

    def over_the_edge(self) -> list[str]:
        """The visible elements that lie outside the window at its left or right."""
        found: list[str] = self.ask(_OVER)
        return found
