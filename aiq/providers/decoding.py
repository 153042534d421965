"""
Undoes a `Content-Encoding` that a server insists on, never producing more than a cap.

We ask for identity, so this is the exception: gzip and deflate are undone, anything else (and two
encodings stacked) is refused.
"""

from __future__ import annotations

import zlib

from aiq.model import Flaw


class DecodeError(ValueError):
    """The body cannot be decoded; `flaw` is UNDECODABLE or TOO_LARGE."""

    def __init__(self, message: str, flaw: Flaw = Flaw.UNDECODABLE) -> None:
        super().__init__(message)
        self.flaw = flaw


def decoded(body: bytes, encoding: str, *, cap_bytes: int) -> bytes:
    """Return the decoded body; raises DecodeError. An empty body is never encoded."""
    name = encoding.strip().lower()
    if not body or name in ("", "identity"):
        return body
    if name in ("gzip", "x-gzip"):
        window_bits = 16 + zlib.MAX_WBITS
    elif name == "deflate":
        window_bits = zlib.MAX_WBITS if _has_zlib_header(body) else -zlib.MAX_WBITS
    else:
        raise DecodeError("the body has an encoding that was not asked for")
    decompressor = zlib.decompressobj(window_bits)
    try:
        plain = decompressor.decompress(body, cap_bytes + 1)
    except zlib.error as error:
        raise DecodeError(f"the body is not valid {name}") from error
    if len(plain) > cap_bytes:
        raise DecodeError(f"the decoded body is larger than {cap_bytes} bytes", Flaw.TOO_LARGE)
    if not decompressor.eof:
        raise DecodeError(f"the {name} body is incomplete")
    return plain


def _has_zlib_header(body: bytes) -> bool:
    """`deflate` means zlib (RFC 9110), but some servers send the bare stream."""
    return body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
