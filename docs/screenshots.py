"""Takes the pictures in `screenshots/`: run `python docs/screenshots.py` in the repository's root.

By default they show the stub of the tests in every state of the page. With `--url` they show a running deployment, for
example `python docs/screenshots.py --url http://localhost:3001 --into elsewhere`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from xero_pipeline.admin.login_throttle import TooManyGuesses  # noqa: E402
from xero_pipeline_tests.admin.canned import NOW, SCENES  # noqa: E402
from xero_pipeline_tests.admin.chromium import ARGUMENTS, CHROMIUM  # noqa: E402
from xero_pipeline_tests.admin.stub import Stub, run_stub  # noqa: E402

WIDE, PHONE = (1280, 960), (360, 780)


def _do_nothing(_: Page) -> None:
    """Leave the page as it was loaded."""


def _start_sync(page: Page) -> None:
    page.get_by_role("button", name="Sync now").click()
    page.locator("#run-parts li").first.wait_for()


def _finish_sync(page: Page) -> None:
    page.get_by_role("button", name="Sync now").click()
    page.locator("#run:not([data-tone=busy])").wait_for()


def _open_disconnect_dialog(page: Page) -> None:
    page.get_by_role("button", name="Disconnect…").click()


def _open_problems(page: Page) -> None:
    for summary in page.locator(".problem summary").all():
        summary.click()


def _open_alert(page: Page) -> None:
    page.locator("#alerts summary").first.click()


def _select_restated_week(page: Page) -> None:
    page.locator("#week-select").select_option("2026-11-07")
    page.locator(".restated").first.wait_for()


def _show_side_by_side(page: Page) -> None:
    page.locator("#organisation").select_option("*")
    page.get_by_role("table", name="All organisations in AUD").wait_for()


def _open_figure(page: Page) -> None:
    matrix = page.get_by_role("table", name="Net revenue by revenue type and region")
    matrix.get_by_role("row", name="Commercial").get_by_role("button").nth(1).click()
    page.locator(".explain-documents").wait_for()


def _open_restated_figure(page: Page) -> None:
    page.locator("#restatements").get_by_role("button", name="Commercial · North").first.click()
    page.locator(".explain-history").wait_for()


def _open_table(page: Page) -> None:
    page.locator(".as-table summary").nth(1).click()


@dataclass(frozen=True)
class Shot:
    """One picture: the scene, the action before it is taken, and the part of the page (by default the whole window)."""

    name: str
    scene: str = "connected"
    act: Callable[[Page], None] = _do_nothing
    part: str | None = None
    size: tuple[int, int] = WIDE
    dark: bool = False
    path: str = "/"
    live: bool = False
    """Whether the picture can be taken of any deployment that has figures."""


SHOTS = (
    Shot("page", live=True),
    Shot("page-dark", dark=True, live=True),
    Shot("page-phone", size=PHONE, live=True),
    Shot("trends", part="#trends", live=True),
    Shot("trends-dark", part="#trends", dark=True, live=True),
    Shot("trends-as-table", part="#charts", act=_open_table, live=True),
    Shot("trends-with-a-gap", "gap", part="#charts"),
    Shot("week", part="#week", live=True),
    Shot("week-restated", act=_select_restated_week, part="#week"),
    Shot("week-dark", act=_select_restated_week, part="#week", dark=True),
    Shot("week-phone", act=_select_restated_week, part="#week", size=PHONE),
    Shot("explain", act=_open_figure),
    Shot("explain-restated", act=_open_restated_figure),
    Shot("explain-phone", act=_open_restated_figure, size=PHONE, dark=True),
    Shot("side-by-side", "two-organisations", act=_show_side_by_side, part="#week"),
    Shot("download", part="#download"),
    Shot("log", "short-log", act=_open_problems, part="#log"),
    Shot("log-phone", "short-log", act=_open_problems, part="#log", size=PHONE),
    Shot("restatements", part="#restatements", live=True),
    Shot("connected-real-signed-in", "connected-real"),
    Shot("access", "connected-real", part="#access"),
    Shot("audit", "connected-real", part="#audit"),
    Shot("audit-phone", "connected-real", part="#audit", size=PHONE),
    Shot("viewer", "viewer"),
    Shot("not-connected", "not-connected"),
    Shot("not-connected-phone", "not-connected", size=PHONE),
    Shot("never-synced", "never-synced"),
    Shot("reconnect-needed", "reconnect-needed"),
    Shot("two-organisations", "two-organisations", part="#connection"),
    Shot("one-of-two-lost", "one-of-two-lost", part="#connection"),
    Shot("dagster-down", "dagster-down", part="#connection"),
    Shot("alerts", "alerts", act=_open_alert),
    Shot("loading", "loading"),
    Shot("failing", "failing"),
    Shot("status-failing", "status-failing"),
    Shot("callback-connected", "callback-connected"),
    Shot("callback-error", "callback-error"),
    Shot("sync-running", "sync-running", act=_start_sync, part="#connection"),
    Shot("sync-done", act=_finish_sync, part="#connection"),
    Shot("sync-partial", "sync-partial", act=_finish_sync, part="#connection"),
    Shot("sync-failed", "sync-failed", act=_finish_sync, part="#connection"),
    Shot("disconnect-one", act=_open_disconnect_dialog),
    Shot("disconnect-of-two", "two-organisations", act=_open_disconnect_dialog),
    Shot("disconnect-phone-dark", "two-organisations", act=_open_disconnect_dialog, size=PHONE, dark=True),
    Shot("sign-in", path="/login"),
    Shot("sign-in-wrong", "sign-in-wrong", path="/login"),
    Shot("sign-in-phone-dark", path="/login", size=PHONE, dark=True),
)


def take(browser: Browser, url: str, shot: Shot, stub: Stub | None, into: Path) -> Path:
    """Take one picture and return its file."""
    if stub is not None:
        stub.play(SCENES.get(shot.scene, SCENES["connected"]))
        if shot.scene == "sign-in-wrong":
            stub.login_error = str(TooManyGuesses(16))
    context = browser.new_context(
        viewport={"width": shot.size[0], "height": shot.size[1]},
        color_scheme="dark" if shot.dark else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    if stub is not None:
        # The page's clock is set as well, so that "7 hours ago" is the same in every picture.
        page.clock.install(time=NOW)
        page.clock.resume()
    page.goto(url + shot.path)
    page.wait_for_timeout(700)
    shot.act(page)
    page.wait_for_timeout(400)
    file = into / f"{shot.name}.png"
    if shot.part:
        page.locator(shot.part).screenshot(path=file)
    else:
        page.screenshot(path=file)
    context.close()
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running deployment; without it, the stub in every state")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "screenshots")
    parser.add_argument("--only", help="only the pictures whose name has this in it")
    chosen = parser.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if (shot.live or not chosen.url) and (chosen.only or "") in shot.name]
    with sync_playwright() as playwright, nullcontext() if chosen.url else run_stub() as stub:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        for shot in shots:
            file = take(browser, chosen.url or stub.url, shot, stub, chosen.into)  # type: ignore[union-attr]
            print(f"{file.stat().st_size // 1024:>5} KB  {file.name}")  # noqa: T201
        browser.close()


if __name__ == "__main__":
    main()
