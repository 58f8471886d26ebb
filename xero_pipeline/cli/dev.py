"""`dev`: the pipeline's code, Dagster's daemon and the admin page with Dagster's UI, together, until Ctrl-C."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from xero_pipeline.cli.admin import choose_admin_port
from xero_pipeline.cli.supervise import find_tool, run_together
from xero_pipeline.dagster_home import is_own_workspace, open_instance
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import DAGSTER_PATH, Settings, child_environment, load_settings

_MODULE = "xero_pipeline.definitions"
_DAEMON = "Dagster's daemon"
_FORMER_DAGSTER_PORT = 3000
_PATIENCE_SECONDS = 30.0


@click.command()
def dev() -> None:
    """Run the daemon and the admin page with Dagster's UI, until Ctrl-C."""
    settings = load_settings()
    # Read this before `open_instance` changes to the deployment's folder: `.env` is found from the current one.
    environment = child_environment(settings)
    with Deployment(settings) as opened:
        opened.warehouse.require_current()
    # Open Dagster's storage once here: its servers would all create it at the same time, and a broken dagster.yaml
    # is a one-line error here.
    open_instance(settings).dispose()
    former_port = urlsplit(settings.dagster_url).port or _FORMER_DAGSTER_PORT
    # The page serves Dagster here, also where DAGSTER_URL names the `dagster-webserver` of a production deployment.
    environment["DAGSTER_URL"] = f"http://localhost:{former_port}"
    log_file = _begin_log(settings)
    # For the socket of the code server: nobody else on this machine may enter the folder, and its path is short, as a
    # socket's has to be.
    with tempfile.TemporaryDirectory(prefix="xero-pipeline-") as folder, log_file.open("ab") as log:
        socket_file = None if is_own_workspace(settings) else Path(folder) / "code.sock"
        commands = _build_commands(settings, socket_file, former_port)
        run_together(
            commands,
            cwd=settings.home_folder,
            environment=environment,
            output=log,
            advice=f"The end of {log_file} shows why.",
            announce=partial(_announce, settings, log_file, time.monotonic()),
            # A daemon that starts before the code is there fails the backfills and retries that it finds.
            waits={} if socket_file is None else {_DAEMON: partial(_is_listening, socket_file)},
        )


def _build_commands(settings: Settings, socket_file: Path | None, former_port: int) -> dict[str, list[str]]:
    workspace = settings.home_folder / "workspace.yaml"
    port = str(choose_admin_port(settings))
    page = [find_tool("xero-pipeline"), "admin", "--port", port, "--redirect-from", str(former_port)]
    commands = {}
    if socket_file is not None:
        # One code server for the daemon and the page, instead of one for each. A workspace.yaml of somebody's own
        # may have other code locations, so it is used as it is.
        entry = {"socket": str(socket_file), "location_name": _MODULE}
        workspace = socket_file.with_name("workspace.yaml")
        # JSON is YAML.
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": entry}]}))
        server = [find_tool("dagster"), "code-server", "start", "--socket", str(socket_file)]
        commands["the code server"] = [*server, "--module-name", _MODULE, "--location-name", _MODULE]
    commands[_DAEMON] = [find_tool("dagster-daemon"), "run", "--workspace", str(workspace)]
    commands["the admin page"] = [*page, "--workspace", str(workspace)]
    return commands


def _is_listening(socket_file: Path) -> bool:
    """Whether the code server has loaded the code: it listens from then on."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(socket_file)) == 0


def _begin_log(settings: Settings) -> Path:
    """Make an empty log file that only its owner can read; the one before is kept beside it."""
    file = settings.data_folder / "dev.log"
    if file.exists():
        file.replace(file.with_suffix(".log.1"))
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    return file


def _announce(settings: Settings, log_file: Path, started_at: float) -> bool:
    """Print where everything is, once the page and Dagster answer. Returns whether it is printed.

    After half a minute the page alone is enough: it says what is wrong with Dagster.
    """
    status = _read_status(f"http://127.0.0.1:{choose_admin_port(settings)}/healthz")
    if status != 200 and (status is None or time.monotonic() < started_at + _PATIENCE_SECONDS):
        return False
    database = settings.database_url
    figures = database.database if database.get_backend_name() == "sqlite" else database.render_as_string()
    for line in (
        f"the admin page   {settings.server_url}",
        f"Dagster's UI     {urlsplit(settings.server_url)._replace(path=DAGSTER_PATH).geturl()}",
        f"the figures      {figures}",
        f"everything else  {log_file}",
        "to stop          Ctrl-C",
    ):
        click.echo(line, err=True)
    return True


def _read_status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None
