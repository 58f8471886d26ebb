"""What a machine runs short of: `python -m simulator.shortages [NAME …]`, as root for the full and the read-only disk.

Real processes meet a shortage while they sync: too many of them at once, a full disk, a database that only reads, a
PostgreSQL server that is away for a minute, few open files, a clock that was set back. Whatever fails has to say so in
one line, without a traceback. When the shortage is over one sync runs as usual, and every table has to equal the books,
with nothing left over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.kills import Deployment, run_deployment

SYNC = ("xero-pipeline", "sync", "--weeks", "2")
LONGEST = 900.0


class Outcome(list[str]):
    """The problems of a shortage, and what became of its commands."""

    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[str] = []

    def add(self, done: subprocess.CompletedProcess[str]) -> None:
        """Look at a command that met the shortage: it may fail, in one line."""
        self.remarks.append(f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:] or ''}")
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            self.append(f"{done.args}: {done.stderr[-800:]}")


def run(deployment: Deployment, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=deployment.folder,
        env=deployment.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )


def sync_many(deployment: Deployment, outcome: Outcome) -> None:
    """20 processes at once on SQLite, 50 on PostgreSQL."""
    processes = []
    for _ in range(50 if deployment.postgres else 20):
        deployment.edit()
        processes.append(deployment.start(*SYNC))
    codes = [process.wait(LONGEST) for process in processes]
    outcome.remarks.append(f"{codes.count(0)} of {len(codes)} ended with 0")
    if any(codes):
        outcome.append(f"exit statuses {codes}: {(deployment.folder / 'xero-pipeline.log').read_text()[-800:]}")


def sync_on_full_disk(deployment: Deployment, outcome: Outcome) -> None:
    """The disk of figures, tokens and Dagster's history has no byte left, then a little, then enough."""
    with _mount_small_disk(deployment.folder / "data", megabytes=64) as resize:
        filler = deployment.folder / "data" / "filler"
        for room in (0, 64, 1024):
            _fill(filler, room_kilobytes=room)
            deployment.edit()
            outcome.add(run(deployment, *SYNC))
        filler.unlink()
        resize(512)
        _finish(deployment, outcome)


def sync_on_read_only(deployment: Deployment, outcome: Outcome) -> None:
    """The database can be read and not be written."""
    if deployment.postgres:
        with deployment.postgres.connect("postgres") as connection:
            connection.execute("ALTER DATABASE figures SET default_transaction_read_only = on")
            outcome.add(run(deployment, *SYNC))
            connection.execute("ALTER DATABASE figures SET default_transaction_read_only = off")
        return
    with _mount_small_disk(deployment.folder / "data", megabytes=256):
        subprocess.run(["mount", "-o", "remount,ro", str(deployment.folder / "data")], check=True)
        outcome.add(run(deployment, *SYNC))
        subprocess.run(["mount", "-o", "remount,rw", str(deployment.folder / "data")], check=True)
        _finish(deployment, outcome)


def sync_without_postgresql(deployment: Deployment, outcome: Outcome) -> None:
    """PostgreSQL is away for a minute, in the middle of a sync of all weeks."""
    if deployment.postgres is None:
        return
    deployment.edit()
    process = subprocess.Popen(
        ["xero-pipeline", "sync", "--weeks", "5"],
        cwd=deployment.folder,
        env=deployment.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(4.0)
    deployment.postgres.kill()
    time.sleep(60.0)
    deployment.postgres.start()
    output, errors = process.communicate(timeout=LONGEST)
    outcome.add(subprocess.CompletedProcess("sync", process.returncode, output, errors))


def sync_with_few_files(deployment: Deployment, outcome: Outcome) -> None:
    """A process may have 64 files open."""
    deployment.edit()
    outcome.add(run(deployment, "prlimit", "--nofile=64:64", *SYNC))


def sync_with_clock_set_back(deployment: Deployment, outcome: Outcome) -> None:
    """The clock is an hour ahead for a sync, and right again for the next, as after a step of it."""
    library = next((str(file) for file in Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1")), None)
    if library is None:
        outcome.append("libfaketime is not installed")
        return
    deployment.edit()
    outcome.add(run(deployment, "env", f"LD_PRELOAD={library}", "FAKETIME=+1h", *SYNC))
    deployment.edit()


SHORTAGES: dict[str, Callable[[Deployment, Outcome], None]] = {
    "many": sync_many,
    "full": sync_on_full_disk,
    "read-only": sync_on_read_only,
    "away": sync_without_postgresql,
    "files": sync_with_few_files,
    "clock": sync_with_clock_set_back,
}


def meet(name: str, database: str) -> Outcome:
    """Let a deployment meet one shortage, and return what was wrong then or afterwards."""
    outcome = Outcome()
    with run_deployment(1, database, with_xero_apart=True) as deployment:
        first = run(deployment, "xero-pipeline", "sync", "--weeks", "5")
        if first.returncode:
            raise RuntimeError(f"the first sync failed: {first.stderr}")
        SHORTAGES[name](deployment, outcome)
        _finish(deployment, outcome)
    return outcome


def _finish(deployment: Deployment, outcome: Outcome) -> None:
    """Sync once as usual, and compare."""
    # Xero's limit is of the real minute that the syncs before have used.
    deadline = time.monotonic() + LONGEST
    while (last := run(deployment, "xero-pipeline", "sync", "--weeks", "5")).returncode:
        if time.monotonic() > deadline:
            outcome.append(f"the sync afterwards failed: {last.stderr[-800:]}")
            return
        time.sleep(10)
    outcome += deployment.find_problems()


@contextmanager
def _mount_small_disk(folder: Path, *, megabytes: int) -> Iterator[Callable[[int], None]]:
    """Put what is in the folder on a small disk of its own, for the block. Yields how to resize it."""
    copy = folder.with_name(f"{folder.name}.copy")
    folder.rename(copy)
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)

    def resize(megabytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(folder)], check=True)

    def move(source: Path, target: Path) -> None:
        subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)

    try:
        move(copy, folder)
        yield resize
    finally:
        kept = folder.with_name(f"{folder.name}.kept")
        kept.mkdir(mode=0o700)
        move(folder, kept)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        kept.rename(folder)


def _fill(filler: Path, *, room_kilobytes: int) -> None:
    """Fill the disk, and leave so much room."""
    filler.unlink(missing_ok=True)
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
    with filler.open("ab") as file:
        size = file.seek(0, 2)
        file.truncate(max(0, size - 1024 * room_kilobytes))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator.shortages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SHORTAGES)}; by default all")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    options = parser.parse_args(arguments)
    broken = 0
    for database in options.database or ("sqlite", "postgresql"):
        for name in options.names or SHORTAGES:
            if name == "away" and database == "sqlite":
                continue
            began = time.monotonic()
            outcome = meet(name, database)
            broken += bool(outcome)
            print(
                f"{database} {name}, {time.monotonic() - began:.0f} s: {'; '.join(outcome[:3]) or 'right afterwards'}"
            )
            for remark in outcome.remarks:
                print(f"    {remark}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
