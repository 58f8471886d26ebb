"""`digest` as a person types it: the letter is shown, or posted as a trial."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from xero_pipeline.clock import SystemClock
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import Inbox
from xero_pipeline_tests.cli.conftest import OLD, Folder, one_line
from xero_pipeline_tests.warehouse.figures.figures_given import land_profit, line, profit


def test_the_letter_is_shown_and_posted_as_a_trial_without_its_address(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 24, 9, 0, tzinfo=ZoneInfo("Australia/Sydney"))
    monkeypatch.setattr(SystemClock, "now", lambda _self: now)
    with folder.warehouse(OLD) as warehouse:
        land_profit(warehouse, profit("271843.69", line("a", "271843.69")), week=Week.containing(now.date()).previous)
    shown = folder.run("digest")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("The week ending 21 November 2026: org-1\n\nThe mock Xero invents these figures")
    assert "org-1, in AUD\nIncome: 271,843.69; week before not known; last year not known\n" in shown.stdout
    assert "ending 14 November 2026: no figures yet" in folder.run("digest", "--week-ending", "2026-11-14").stdout
    assert "DIGEST_URLS is empty" in one_line(folder.run("digest", "--send"))
    inbox = Inbox()
    with inbox.server:
        posted = folder.run("digest", "--send", DIGEST_URLS=inbox.address)
        assert posted.stdout == "posted to JSON at 127.0.0.1\n"
        inbox.works = False
        refused = one_line(folder.run("digest", "--send", DIGEST_URLS=inbox.address))
    assert [message.kind for message in inbox.messages] == ["info"]
    assert "The letter could not be posted to JSON at 127.0.0.1." in refused
    assert "hunter2" not in refused
    assert "is a Monday, but a week is named by its Saturday" in one_line(
        folder.run("digest", "--week-ending", "2026-11-16")
    )
