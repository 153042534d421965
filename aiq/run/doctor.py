"""
What `doctor` looks at: versions, limits of the machine, configuration, keys, proxies, database.

Nothing is sent and nothing is written. Keys appear by the names of their variables only, proxies
without their credentials.
"""

from __future__ import annotations

import platform
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import aiq
from aiq.config import RunSettings, Settings, load
from aiq.config.environment import KEYS_FILE, Environment, read_environment
from aiq.config.source import DEFAULT_FILE
from aiq.errors import ConfigError
from aiq.providers.presets import PRESETS
from aiq.providers.proxies import proxy_for
from aiq.run import open_files
from aiq.run.alerts.chat import INSTALL, has_library
from aiq.run.database_checks import database_checks, disk_check
from aiq.run.diagnosis import Check, Diagnosis, Gravity, finding, note, ok
from aiq.store.inspection import has_wal_defect, sqlite_version
from aiq.store.opening import OLDEST_SQLITE

LIBRARIES = ("httpx", "aiohttp")


async def diagnose(
    *,
    config_path: Path | None,
    database: Path,
    environ: Mapping[str, str],
    working_directory: Path,
) -> Diagnosis:
    """Look at everything; what is wrong is a finding, never an exception."""
    environment = read_environment(environ, working_directory)
    checks = [*_versions(), _sqlite()]
    settings = None
    try:
        settings = load(
            config_path=config_path,
            environ=environ,
            working_directory=working_directory,
            needs_keys=False,
        )
    except ConfigError as error:
        is_missing = config_path is None and not (working_directory / DEFAULT_FILE).exists()
        said = note if is_missing else finding
        checks.append(said("configuration", str(error), error.hint))
    else:
        checks.append(_configuration(settings))
    checks += _files(settings, working_directory)
    checks += [note("environment", sentence) for sentence in environment.notes]
    checks += _keys(environment, settings, environ)
    checks += _proxies(settings, environ)
    checks += _alerts(settings)
    checks += [_open_files(settings), disk_check(database)]
    return Diagnosis((*checks, *await database_checks(database)))


def _versions() -> Iterator[Check]:
    yield ok("aiq", aiq.__version__)
    yield ok("Python", f"{platform.python_version()} ({platform.system()})")
    for library in LIBRARIES:
        try:
            yield ok(library, version(library))
        except PackageNotFoundError:
            yield finding(library, "is not installed", "install aiq again")


def _sqlite() -> Check:
    linked = sqlite_version()
    shown = ".".join(map(str, linked))
    if linked < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        return finding(
            "SQLite", f"{shown} is too old: {needed} is needed", "use a Python with a newer one"
        )
    if has_wal_defect(linked):
        return note(
            "SQLite",
            f"{shown} can corrupt a log that two connections write (mended in 3.51.3);"
            " aiq only ever has one that writes",
        )
    return ok("SQLite", shown)


def _configuration(settings: Settings) -> Check:
    names = ", ".join(provider.name for provider in settings.providers)
    where = settings.path.name if settings.path else "no file"
    return ok("configuration", f"{where}; providers by rank: {names}")


def _files(settings: Settings | None, working_directory: Path) -> Iterator[Check]:
    """Look at who else may read the keys, or change where they are sent."""
    path = settings.path if settings else None
    if path is not None and path.stat().st_mode & stat.S_IWOTH:
        text = f"anybody on this machine can change {path}, and so where keys are sent"
        yield finding("permissions", text, f"chmod o-w {path}")
    secrets = working_directory / KEYS_FILE
    if not secrets.is_file():
        return
    mode = stat.S_IMODE(secrets.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        what = "read" if mode & stat.S_IROTH else "change"
        yield finding("permissions", f"anybody on this machine can {what} .env", "chmod 600 .env")
    elif mode & (stat.S_IRGRP | stat.S_IWGRP):
        what = "read" if mode & stat.S_IRGRP else "change"
        yield note("permissions", f"the group can {what} .env", "chmod 600 .env")
    else:
        yield ok("permissions", ".env is yours alone")


def _keys(
    environment: Environment, settings: Settings | None, environ: Mapping[str, str]
) -> Iterator[Check]:
    known = [name for preset in PRESETS.values() for name in preset.key_env]
    known += (
        [secret.name for one in settings.providers for secret in one.secrets] if settings else []
    )
    names = [
        name if name in environ else f"{name} (.env)"
        for name in dict.fromkeys(known)
        if environment.is_set(name)
    ]
    yield ok("keys", f"set: {', '.join(names)}" if names else "none is set")
    for provider in settings.providers if settings else ():
        if provider.missing_key is not None:
            said = f"{provider.name}: {provider.missing_key} is not set"
            yield finding("keys", said, f"export {provider.missing_key}=..., or put it into .env")


def _proxies(settings: Settings | None, environ: Mapping[str, str]) -> Iterator[Check]:
    """Look at each provider's; without a configuration, at what any of them would go through."""
    if settings is None:
        of_any = _proxy("any provider", _ANY_PROVIDER, environ)
        yield from [] if of_any.gravity is Gravity.OK else [of_any]
        return
    for provider in settings.providers:
        yield _proxy(provider.name, provider.base_url, environ)


_ANY_PROVIDER = "https://provider.invalid"


def _proxy(name: str, url: str, environ: Mapping[str, str]) -> Check:
    try:
        proxy = proxy_for(url, environ)
    except ConfigError as error:
        return finding("proxy", f"{name}: {error}", error.hint)
    if proxy is None:
        return ok("proxy", f"{name}: none")
    return note("proxy", f"{name}: through {_without_credentials(proxy)}")


def _without_credentials(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _alerts(settings: Settings | None) -> Iterator[Check]:
    """Look whether alerts can get out, where there are to be any; nothing is sent."""
    alerts = settings.alerts if settings else None
    if alerts is None:
        return
    if alerts.missing is not None:
        yield finding("alerts", alerts.missing, "export it, or put it into .env")
    elif alerts.urls and not has_library():
        yield finding("alerts", "URLs of chats need the extra `alerts`", INSTALL)
    else:
        names = [secret.name for secret in (*alerts.urls, alerts.webhook) if secret is not None]
        yield ok("alerts", f"to {', '.join(names)}; `aiq alerts test` tries it")


def _open_files(settings: Settings | None) -> Check:
    allowed = open_files.attainable()
    run = settings.run if settings else RunSettings()
    needed = open_files.needed(run.concurrency)
    if allowed is None:
        return ok("open files", "no limit")
    text = f"{allowed:,} allowed; concurrency {run.concurrency:,} needs about {needed:,}"
    if allowed < needed:
        hint = f"`ulimit -n {needed}`, or a smaller `-c`: a run would lower it by itself"
        return finding("open files", text, hint)
    return ok("open files", text)
