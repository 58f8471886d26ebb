"""The browser of the browser tests: finds and starts Chromium, and collects script errors and violations.

Each test module starts its own browser and not one for the whole session: Playwright keeps an event loop running in
its thread, in which the tests of other modules could not run one of their own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

# The headless shell is preferred: it needs a quarter less processor time.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), "/usr/bin/chromium")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# All findings of a rule have its impact, so rules of minor or moderate impact need not run.
RUN_AXE = """(parts) => {
  const lesser = axe._audit.rules.filter(({ impact }) => ["minor", "moderate"].includes(impact));
  const rules = Object.fromEntries(lesser.map(({ id }) => [id, { enabled: false }]));
  return axe.run({ include: parts.map((part) => [part]) }, { resultTypes: ["violations"], rules });
}"""

# No sandbox, because the tests also run as root. The other switches stop its background requests.
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
def run_browser() -> Iterator[Browser]:
    """Run a headless Chromium while the block runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def collect_complaints(page: Page) -> list[str]:
    """Return a list to which the page adds its script errors and policy violations as they happen."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"thrown: {error}"))
    page.on(
        "console",
        # failed requests are part of the scene and no fault of the page
        lambda entry: (
            complaints.append(entry.text)
            if entry.type == "error" and "Failed to load resource" not in entry.text
            else None
        ),
    )
    return complaints


def list_serious_violations(page: Page, *parts: str) -> list[str]:
    """List axe's serious and critical violations in those parts of the page, or in the whole page, one line each."""
    # evaluated, because the page's policy forbids adding another script
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    results: dict[str, Any] = page.evaluate(RUN_AXE, list(parts) or ["html"])
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in results["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]
