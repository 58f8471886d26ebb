"""Real processes, real kills: `python -m simulator.kills --kills 200`.

Syncs are started as people start them, and killed with SIGKILL at moments that a seed draws, one or two at once, while
somebody edits the books. Then one sync runs to its end, and every table must equal the books, with nothing left over.
The kills of `make simulate` are a model; these are not.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from simulator.laws import FigureLaws, find_leftovers
from simulator.truth import Truth
from xero_pipeline.clock import SystemClock
from xero_pipeline.mock_xero import DEFAULT_ORGANISATIONS, MockXero
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.weeks import Week

TENANT = DEFAULT_ORGANISATIONS[0].tenant_id
COMMAND = Path(sys.executable).with_name("xero-pipeline")


class KilledDeployment:
    """A deployment in a folder of its own, whose processes are killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.killed = 0
        self.environment = {
            "PATH": os.environ["PATH"],
            "DAGSTER_HOME": str(folder),
            "XERO_MOCK_MODE": "true",
            "XERO_ENCRYPTION_KEY": secrets.token_hex(32),
            "PIPELINE_START_DATE": "2026-06-07",
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        self.run("migrate")
        self.run("connect")
        self.mock = MockXero(folder / "data" / "mock-xero.db", SystemClock())
        self.books = self.mock.books(TENANT)
        self.weeks = [Week.containing(self.books.today).shift(-number) for number in (1, 2)]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> None:
        subprocess.run([COMMAND, *arguments], cwd=self.folder, env=self.environment, check=True, capture_output=True)

    def kill_some(self, longest: float) -> None:
        """Start one sync or two, edit the books, and kill them."""
        processes = [self.start("sync", "--weeks", "2") for _ in range(self.draw.choice((1, 1, 2)))]
        self.edit()
        for process in processes:
            time.sleep(self.draw.uniform(0.5, longest) / len(processes))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                self.killed += 1
            process.wait()

    def edit(self) -> None:
        week = self.draw.choice(self.weeks)
        documents = [one for one in self.books.documents(week) if one.kind.value == "ACCREC" and one.status.is_counted]
        self.mock.edit_invoice(TENANT, self.draw.choice(documents).id, change=Decimal(self.draw.randint(1, 9999)) / 100)

    def find_problems(self) -> list[str]:
        """Sync once without a kill, and compare every table with the books."""
        # Xero's limit is of the real minute that the killed syncs have used.
        time.sleep(61)
        self.run("sync", "--weeks", "2")
        engine = open_engine(f"sqlite:///{self.folder / 'data' / 'xero.db'}")
        clock = SystemClock()
        laws = FigureLaws(engine, {TENANT: Truth(self.books, clock.now, cash_basis=False)})
        laws.refresh(TENANT, self.weeks)
        laws.hold_exact(TENANT, self.weeks, clock.now())
        # The permits of a killed process are free as soon as somebody needs one, and at the latest when its lease ends.
        problems = laws.broken + find_leftovers(engine, clock.now() + timedelta(minutes=10))
        engine.dispose()
        return problems


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds until a kill, at most")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        deployment = KilledDeployment(Path(folder), options.seed)
        while deployment.killed < options.kills:
            deployment.kill_some(options.longest)
        problems = deployment.find_problems()
        deployment.mock.close()
    print(f"{deployment.killed} kills: {'; '.join(problems) or 'every table equals the books, and nothing is left'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
