"""Certificates made on the spot with openssl, and servers that show them."""

from __future__ import annotations

import functools
import ssl
import subprocess
import tempfile
import warnings
from pathlib import Path

from aiohttp import connector

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@functools.cache
def certificate(name: str = "127.0.0.1", *, days: int = 1) -> Path:
    """Make a self-signed certificate with its key, in one file; negative days: it has expired."""
    directory = Path(tempfile.mkdtemp(prefix="faults-tls-"))
    key, request, signed = (directory / part for part in ("key.pem", "request.pem", "cert.pem"))
    kind = "IP" if name[0].isdigit() else "DNS"
    names = directory / "names"
    names.write_text(f"subjectAltName={kind}:{name}\n")
    _openssl("req", "-new", *_CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    signing = ("-signkey", key, "-days", str(days), "-extfile", names)
    _openssl("x509", "-req", "-in", request, *signing, "-out", signed)
    both = directory / "server.pem"
    both.write_text(key.read_text() + signed.read_text())
    return both


def server_context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def outdated_context(path: Path) -> ssl.SSLContext:
    """Speak TLS 1.0 and nothing newer."""
    context = server_context(path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def trust(path: Path) -> None:
    """Make the client believe in the signer, so that something else must be what it refuses."""
    connector._SSL_CONTEXT_VERIFIED.load_verify_locations(path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
