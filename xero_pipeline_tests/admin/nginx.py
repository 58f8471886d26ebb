"""A real nginx with a file of `deploy/`, in front of a served page. Only names, ports and certificates are replaced."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xero_pipeline_tests.admin.real_dagster import ROOT, find_free_port
from xero_pipeline_tests.conftest import skip_or_fail

NAME = "xero.example.com"
_STARTS_WITHIN = 30.0

_MAIN = """\
daemon off; master_process off; worker_rlimit_nofile 8192; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {files}
}}
"""


def find_nginx() -> str:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        skip_or_fail("no nginx")
    return str(nginx)


@contextmanager
def run_nginx(folder: Path, file: str, *, page: str, dagster: str = "http://127.0.0.1:9") -> Iterator[str]:
    """Run nginx with that file of `deploy/` while the block runs, and yield its address, `https://127.0.0.1:<port>`.

    Args:
        page, dagster: the addresses that stand in for those of port 3001 and 3000.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    _write_certificate(folder)
    text = (ROOT / "deploy" / file).read_text()
    for shipped, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("http://127.0.0.1:3001", page.replace("localhost", "127.0.0.1")),
        ("http://127.0.0.1:3000", dagster),
    ):
        assert shipped in text or shipped.endswith("3000")
        text = text.replace(shipped, here)
    text = re.sub(r"/etc/ssl/xero\.example\.com\.(pem|key)", lambda match: f"{folder}/cert.{match[1]}", text)
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, files=f"include {folder}/site.conf;"))
    with (folder / "nginx.log").open("wb") as log:
        command = [find_nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"https://127.0.0.1:{port}"
        _wait_for(url, process, folder / "nginx.log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


@cache
def make_ssl_context() -> ssl.SSLContext:
    """A context that takes any certificate: it is not what these tests are about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def open_https(url: str, *, address: str | None = None, **headers: str) -> httpx.Client:
    """Open a client that takes nginx for `xero.example.com`.

    Args:
        address: the client's own address, any of 127.0.0.0/8.
    """
    transport = httpx.HTTPTransport(verify=make_ssl_context(), local_address=address, trust_env=False)
    return httpx.Client(base_url=url, headers={"Host": NAME} | headers, transport=transport, timeout=60)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with open_https(url) as client:
                client.get("/healthz")
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx did not start:\n{log.read_text()[-2000:]}")


def _write_certificate(folder: Path) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.key").write_bytes(private)
