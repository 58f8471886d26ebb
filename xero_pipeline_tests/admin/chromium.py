"""The browser of the browser tests: which Chromium, how it is started, and what it must not complain about.

Not here: what a page should show. A browser is a module's, not a session's: Playwright keeps an event loop running
in its thread, in which no other module's test could run one of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

# The one without a window's machinery costs a quarter less of the processor, where it is there.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), "/usr/bin/chromium")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# A rule's impact is that of all it finds, so the lesser rules need not run.
RUN_AXE = """(parts) => {
  const lesser = axe._audit.rules.filter(({ impact }) => ["minor", "moderate"].includes(impact));
  const rules = Object.fromEntries(lesser.map(({ id }) => [id, { enabled: false }]));
  return axe.run({ include: parts.map((part) => [part]) }, { resultTypes: ["violations"], rules });
}"""

# No sandbox: the tests also run as root. The rest keeps it from calling home.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
)


def is_installed() -> bool:
    return Path(CHROMIUM).exists()


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium, until left."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def complaints(page: Page) -> list[str]:
    """A list that fills with what the page's scripts throw and what its policy refuses, as it happens."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"thrown: {error}"))
    page.on(
        "console",
        # that an answer was an error is the scene's doing, not the page's
        lambda said: (
            found.append(said.text) if said.type == "error" and "Failed to load resource" not in said.text else None
        ),
    )
    return found


def serious_violations(page: Page, *parts: str) -> list[str]:
    """What axe finds that is serious or critical in those parts of the page, or in all of it; one line each."""
    # evaluated, not added as a script: the page's policy allows no other script
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(RUN_AXE, list(parts) or ["html"])
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]
