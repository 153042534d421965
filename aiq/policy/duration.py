"""How long something lasted, or how long ago it was, as people read it."""

from __future__ import annotations


def shown_duration(seconds: float) -> str:
    """Write whole seconds below two minutes, else two units; a clock may have been set back."""
    whole = max(0, round(seconds))
    minutes, hours = whole // 60, whole // 3600
    if whole < 120:
        return f"{whole} s"
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
