"""How the command line shows untrusted text; what makes it harmless is `aiq.untrusted`."""

from __future__ import annotations

from aiq.untrusted import NAME, SENTENCE, visible

__all__ = ["NAME", "SENTENCE", "visible"]
