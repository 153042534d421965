"""
A history as one page that needs nothing but itself.

The page is a template with automatic escaping, and whatever it shows is made visible before it is
escaped, so no value can be forgotten. Its policy allows no request at all, and of scripts only
those whose digests it names: even a mistake in escaping would run nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import aiq
from aiq.cli import figures
from aiq.cli.page import charts, words
from aiq.cli.text import visible
from aiq.clock import rfc3339
from aiq.errors import Refused
from aiq.run.history import History

if TYPE_CHECKING:
    from jinja2 import Environment

_LONGEST = 4000
"""Characters of any one text; what is longer was cut before."""


def refuse_without_libraries() -> None:
    """Raise `Refused` if the optional libraries of the report are not installed."""
    try:
        import jinja2  # noqa: F401, PLC0415 - only to see whether it is there
        import plotly.offline  # noqa: F401, PLC0415
    except ImportError as error:
        raise Refused(
            f"`aiq report` needs the extra `report`: {error.name} is not installed",
            hint="`pip install 'jinja2>=3.1' 'plotly>=6'`, which is what it consists of",
        ) from error


def page(history: History, *, now_us: int) -> bytes:
    """Return the whole page as UTF-8."""
    from markupsafe import Markup  # noqa: PLC0415 - of the extra `report`
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    library, script = get_plotlyjs(), _part("page.js")
    text = (
        _environment()
        .from_string(_part("page.html"))
        .render(
            **words.words(history),
            version=aiq.__version__,
            written=rfc3339(now_us),
            policy=_policy(library, script),
            style=Markup(_part("page.css")),  # noqa: S704 - our own file
            figures=Markup(_data(charts.figures(history))),  # noqa: S704 - escaped there
            library=Markup(library),  # noqa: S704 - plotly's own file
            script=Markup(script),  # noqa: S704 - our own file
            number=words.number,
            dollars=words.dollars,
            plural=figures.plural,
        )
    )
    return text.encode("utf-8", "backslashreplace")


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - of the extra `report`

    return Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, keep_trailing_newline=True
    )


def _shown(value: Any) -> Any:
    """Make the text of strangers visible; what is markup already is our own."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value, _LONGEST, lines=True)
    return value


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _data(value: object) -> str:
    """Return JSON that ends no script element and no line of one, whatever is in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 is escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(*scripts: str) -> str:
    """
    Return the page's Content-Security-Policy.

    Styles may be inline because plotly.js writes its own; images are those it makes of itself.
    """
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
