"""
The configuration: `load` turns file, environment and command line into frozen `Settings`.

    settings      what the rest of the program reads
    tables        what aiq.toml may hold
    toml_file     reading it, and naming what is wrong by the key's path
    checks        values that make no sense
    source        the file as a whole, or its absence
    base_url      what a base URL may look like
    environment   variables over .env
    alerts        where alerts go
    selection     which providers are used, in which order
    assembly      all of it together

Nothing here imports an HTTP client or the price table.
"""

from aiq.config.alert_settings import AlertSettings
from aiq.config.assembly import load, load_alerts
from aiq.config.settings import ProviderSettings, RunOverrides, RunSettings, Settings

__all__ = [
    "AlertSettings",
    "ProviderSettings",
    "RunOverrides",
    "RunSettings",
    "Settings",
    "load",
    "load_alerts",
]
