"""`digest`: the weekly letter, shown or posted."""

from __future__ import annotations

from datetime import date

import click

from xero_pipeline.automation.delivery import MessageKind
from xero_pipeline.automation.digest import build_digest, find_due_times, read_digest_addresses
from xero_pipeline.cli.options import DATE, print_line
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.settings.base import SettingsError


class LetterRefused(PipelineError):
    """An address did not take the letter."""

    code = "letter_refused"
    default_advice = "Check the address in DIGEST_URLS (the command `apprise -vv -b test <address>` shows more)."


@click.command()
@click.option("--week-ending", type=DATE, help="The week, by its Saturday (default: the latest).")
@click.option("--send", is_flag=True, help="Post it to the addresses in DIGEST_URLS now, as a trial.")
def digest(week_ending: date | None, send: bool) -> None:
    """Show the weekly letter as it would be posted now, or post it.

    The sensor weekly_digest posts it by itself when DIGEST_CRON says. A trial does not count: the letter of the week
    is posted all the same.
    """
    settings = load_settings()
    addresses = read_digest_addresses(settings)
    if send and not addresses:
        raise SettingsError("DIGEST_URLS is empty: set the Apprise addresses that get the weekly letter")
    with open_deployment(settings) as opened:
        now, calendar = opened.clock.now(), settings.calendar
        week = calendar.find_latest_week(now) if week_ending is None else calendar.require_week(week_ending, now)
        due, _ = find_due_times(settings, now)
        letter = build_digest(opened, week, due)
    if not send:
        for line in [letter.title, "", *letter.body.splitlines()]:
            print_line(line)
        return
    refused = [address.label for address in addresses if not address.post(letter.title, letter.body, MessageKind.INFO)]
    if refused:
        raise LetterRefused(f"The letter could not be posted to {', '.join(refused)}.")
    print_line(f"posted to {', '.join(address.label for address in addresses)}")
