"""Every refusal of `aiq.toml` names the file, the key's path and what to write instead."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from aiq.config import load
from aiq.errors import ConfigError

KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


def refusal(folder: Path, text: str | bytes) -> ConfigError:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "aiq.toml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(environ={"OPENAI_API_KEY": "test-key"}, working_directory=folder)
    return caught.value


def provider(extra: str, reach: str = 'base_url = "http://localhost:9/v1"') -> str:
    return f'[[providers]]\nname = "one"\n{reach}\n{extra}\n'


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("[rum]\n", "rum: unknown key", "`run`"),
        ("[run]\nconcurency = 3\n", "run.concurency: unknown key", "`concurrency`"),
        ("concurrency = 3\n", "concurrency: unknown key", "a key of [run]"),
        (provider("temperature = 1"), "providers[0].temperature: unknown", "a key of [defaults]"),
        (provider("max_in_fligt = 3"), "providers[0].max_in_fligt: unknown", "`max_in_flight`"),
        (provider("price = { imput = 1 }"), "providers[0].price.imput: unknown", "`input`"),
        ("[defaults]\ntemprature = 1\n", "defaults.temprature: unknown", "`temperature`"),
        ('[run]\non_unknown = "retri"\n', "run.on_unknown: unknown value", "`retry`"),
        ('[run]\non_changed = "zzz"\n', "run.on_changed: unknown value", "error, rerun, keep"),
        (provider('kind = "openia"'), "providers[0].kind: unknown value", "`openai`"),
        (provider('preset = "opnai"'), "providers[0].preset: no preset", "`openai`"),
        ("[providers]\nname = 'x'\n", "providers: expected array, got table", "[[providers]]"),
        ('[[providers]]\nname = "groq"\n', "providers[0]: says nowhere", 'preset = "groq"'),
        ('[[providers]]\nbase_url = "http://localhost"\n', "providers[0].name: is missing", "name"),
        ('[[providers]]\nname = "x"\n', "providers[0]: says nowhere", "`base_url`"),
    ],
)
def test_unknown_words(tmp_path: Path, text: str, place: str, hint: str) -> None:
    """A misspelt key or word is refused with the nearest valid one."""
    error = refusal(tmp_path, text)
    assert str(error).startswith(f"aiq.toml: {place}")
    assert error.hint is not None
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[run]\nconcurrency = 0\n", "run.concurrency: expected integer >= 1"),
        ("[run]\nconcurrency = true\n", "run.concurrency: expected integer, got boolean"),
        ('[run]\nconcurrency = "8"\n', "run.concurrency: expected integer, got string"),
        ("[run]\nmax_attempts = -1\n", "run.max_attempts: expected integer >= 1"),
        ("[run]\ntimeout_s = 0\n", "run.timeout_s: expected number > 0"),
        ("[run]\ntimeout_s = nan\n", "run.timeout_s: must be a finite number"),
        ("[run]\nmax_wait_s = inf\n", "run.max_wait_s: must be a finite number"),
        ("run = 3\n", "run: expected table, got integer"),
        (provider("rank = 0"), "providers[0].rank: expected integer >= 1"),
        (provider("context_window = -5"), "providers[0].context_window: expected integer >= 1"),
        (provider("max_in_flight = 1.5"), "providers[0].max_in_flight: expected integer"),
        (provider("max_tokens = 0"), "providers[0].max_tokens: expected integer >= 1"),
        (provider("connect_timeout_s = -1"), "providers[0].connect_timeout_s: expected number"),
        (provider("price = { input = -1, output = 2 }"), "providers[0].price.input: must not"),
        (provider("price = { input = 1 }"), "providers[0].price.output: is missing"),
        (provider("price = { input = nan, output = 2 }"), "providers[0].price.input: must be a"),
        (provider('models = { "a.b" = 3 }'), "providers[0].models: one of its values: expected"),
        (provider('models = { "a.b" = "" }'), 'providers[0].models."a.b": is empty'),
        (provider("model = ' x'"), "providers[0].model: is empty, or starts"),
        (provider('account = "a\\u0007"'), "providers[0].account: holds a character"),
        (provider("strict_models = true"), "providers[0].strict_models: leaves no model"),
        (provider('cap_field = "messages"'), "providers[0].cap_field: is not the name of a cap"),
        (provider('cap_field = "Max Tokens"'), "providers[0].cap_field: is not the name of a cap"),
        (provider('cap_field = "max_token"'), "providers[0].cap_field: is not the name of a cap"),
        (provider('cap_field = "n"'), "providers[0].cap_field: is not the name of a cap"),
        (provider('cap_field = "temperature"'), "providers[0].cap_field: is not the name of a cap"),
        (provider("simulated = {}"), "providers[0].simulated: this provider is not simulated"),
        (
            provider("simulated = { error_rate = 7 }", 'kind = "simulated"'),
            "providers[0].simulated: error_rate",
        ),
        (provider("allow_http = true", 'kind = "simulated"'), "providers[0].allow_http: a simu"),
        (provider("", 'kind = "simulated"\nbase_url = "http://x/v1"'), "providers[0].base_url: a"),
        (
            provider("", 'preset = "simulated"\nkind = "openai"'),
            "providers[0].kind: the preset simulated is of kind simulated",
        ),
        ('[[providers]]\nname = "a\\u001b"\n', "providers[0].name: holds a character"),
        ('[[providers]]\nname = "a\\u202eb"\nkind = "simulated"\n', "providers[0].name: holds"),
        (provider("") + provider(""), "providers[1].name: `one` is also the name of providers[0]"),
        (
            provider("rank = 2") + '[[providers]]\npreset = "vllm"\nrank = 2\n',
            "providers[1].rank: 2 is also the rank of providers[0]",
        ),
        ('[run]\nstrategy = "fastest"\n', "run.strategy: unknown value `fastest`"),
        ("[run]\nbudget_usd = 0\n", "run.budget_usd: expected number > 0"),
        ('[run]\nprefer_region = ""\n', "run.prefer_region: is empty"),
        (provider('region = " eu"'), "providers[0].region: is empty, or starts"),
        (provider("requests_per_minute = 0"), "providers[0].requests_per_minute: expected"),
        (provider('api_version = "../x"'), "providers[0].api_version: is not a version"),
        (provider("[providers.breaker]\nbad_share = 2"), "providers[0].breaker.bad_share: exp"),
        (provider("[providers.breaker]\nopens = 2"), "providers[0].breaker.opens: unknown key"),
        (provider("[providers.breaker]\nwindow_calls = 9"), "providers[0].breaker.window_calls: i"),
        (provider("[providers.limits]\ndecrease = 1.0"), "providers[0].limits.decrease: exp"),
        (provider("[providers.probe]\nlevel = 5"), "providers[0].probe.level: expected"),
        ("[monitor]\ninterval_s = 0.0", "monitor.interval_s: expected"),
        ("[monitor]\njitter = 0.9", "monitor.jitter: expected"),
        ("[monitor]\nz_critical = 2", "monitor.z_critical: is smaller than z_warning"),
        ("[monitor]\nin_a_row = 6", "monitor.critical_in_a_row: is smaller than in_a_row"),
    ],
)
def test_nonsense_values(tmp_path: Path, text: str, place: str) -> None:
    """A value of the wrong type or without sense is refused at its key."""
    assert str(refusal(tmp_path, text)).startswith(f"aiq.toml: {place}")


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{KEY}"',
        'api_key = "short"',
        f'key = "{KEY}"',
        f'api_key_env = "{KEY}"',
        'api_key_env = "gsk_abcdefghijklmnop0123456789"',
        'api_key_env = "abcdef0123456789abcdef0123456789"',
        f'account = "{KEY}"',
        f'headers = {{ "X-Title" = "{KEY}" }}',
        f'headers = {{ "X-Title" = "Bearer {KEY}" }}',
        'headers = { "Authorization" = "abc" }',
        'headers = { "X-Api-Key" = "abc" }',
        'headers = { "X-Gate" = "Basic dXNlcjpwYXNz" }',
        'headers = { "X-Gate" = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF" }',
    ],
)
def test_literal_keys(tmp_path: Path, line: str) -> None:
    """A key written into the file is refused, and its value is not repeated."""
    error = refusal(tmp_path, provider(line))
    assert "providers[0]." in str(error)
    assert "do not belong in this file" in str(error)
    value = line.rpartition("=")[2].strip(' "}')
    assert value not in str(error)
    assert value not in (error.hint or "")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("api.example.com/v1", "must start with https://"),
        ("ftp://api.example.com", "must start with https://"),
        ("https://", "names no host"),
        ("https://:8000/v1", "names no host"),
        ("https://me:hunter2@api.example.com/v1", "must not hold a user name"),
        ("https://api.example.com/v1?key=hunter2", "must end before any ?"),
        ("https://api.example.com/v1#hunter2", "must end before any ?"),
        ("https://api.example.com:port/v1", "is not a URL"),
        ("https://api.example.com:99999/v1", "is not a URL"),
        ("https://api.exa mple.com/v1", "has a space"),
        ("https://api.example.com/v1\\n", "has a space or a control character"),
        ("https://api.example.com/v1/chat/completions", "must not name an endpoint"),
        ("https://[::1/v1", "is not a URL"),
    ],
)
def test_base_urls(tmp_path: Path, url: str, reason: str) -> None:
    """A base URL that cannot be one is refused without being repeated."""
    error = refusal(tmp_path, provider("", f'base_url = "{url}"'))
    assert str(error).startswith(f"aiq.toml: providers[0].base_url: {reason}")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ('"X Y" = "a"', '"X Y": is not a header name'),
        ('"Host" = "a"', "Host: aiq sets this header itself"),
        ('"content-length" = "3"', "content-length: aiq sets"),
        ('"X-A" = "a", "x-a" = "b"', "x-a: is there twice"),
        ('"X-A" = "a\\r\\nX-B: c"', "X-A: holds a character that is not printable ASCII"),
        ('"X-A" = "é"', "X-A: holds a character that is not printable ASCII"),
        ('"X-A" = "${GATE"', "X-A: has a `${` that is not a complete ${NAME}"),
        ('"X-A" = "${}"', "X-A: has a `${` that is not a complete ${NAME}"),
    ],
)
def test_headers(tmp_path: Path, headers: str, reason: str) -> None:
    """A header that would break the request or cannot be expanded is refused."""
    error = refusal(tmp_path, provider(f"headers = {{ {headers} }}"))
    assert str(error).startswith(f"aiq.toml: providers[0].headers.{reason}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nconcurrency = \n", "line 2, column 15: Invalid value"),
        ("[run]\n\nconcurrency\n", "line 3, column 12: Expected '=' after a key"),
        ("a = [1,\n2", "line 2: Unclosed array"),
        ("a = 'x\u2028y'\nb = [1", "line 2: Unclosed array"),
        (b"[run]\nx = '\xff'\n", "is not UTF-8"),
        ("a = " + "[" * 5000, "is nested too deeply"),
        ("[defaults]\n" + "a." * 200 + "b = 1\n", "defaults: is nested too deeply"),
        ("a = " + "9" * 5000, "holds an integer of too many digits"),
        (
            "[run]\nconcurrency = 1\nconcurrency = 2\n",
            "line 3, column 16: Cannot overwrite a value",
        ),
        ("[run]\n[defaults]\n[run]\n", "line 3, column 5: Cannot declare ('run',) twice"),
        ("[run]\nconcurrency =\t3 # x\n\tname = 'a\tb'\n", "run.name: unknown key"),
        ("run: {concurrency: 3}\n", "line 1, column 4: Expected '=' after a key"),
        ("#" * (1024 * 1024 + 1), "is too large to be a configuration"),
    ],
)
def test_broken_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    """A file that is no TOML is refused with the line, whatever it holds."""
    assert str(refusal(tmp_path, text)).startswith(f"aiq.toml: {message}")


@pytest.mark.parametrize("name", ["model", "messages", "prompt", "input", "stream", "metadata"])
def test_misplaced_defaults(tmp_path: Path, name: str) -> None:
    """What belongs to a prompt or to `-m` is no default, and the hint says where it belongs."""
    error = refusal(tmp_path, f'[defaults]\n{name} = "x"\n')
    assert str(error) == f"aiq.toml: defaults.{name}: does not belong here"
    assert error.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n = 2", "defaults.n: must be 1"),
        ("system = 3", "defaults.system: expected string, got integer"),
        ('temperature = "hot"', "defaults.temperature: expected number, got string"),
        ("temperature = nan", "defaults.temperature: must be a finite number"),
        ("max_tokens = 0", "defaults.max_tokens: expected integer >= 1"),
        ("stop = 3", "defaults.stop: expected string or array, got integer"),
        ("response_format = 'json'", "defaults.response_format: expected table, got string"),
        ("extra_body = { stream = true }", "defaults.extra_body.stream: would overwrite"),
        ("extra_body = { day = 2026-01-01 }", "defaults.extra_body.day: is a date or time"),
        ("logit_bias = { a = [inf] }", "defaults.logit_bias.a[0]: must be a finite number"),
    ],
)
def test_defaults_are_typed(tmp_path: Path, text: str, message: str) -> None:
    """`[defaults]` takes request fields of the types the wire knows."""
    assert str(refusal(tmp_path, f"[defaults]\n{text}\n")).startswith(f"aiq.toml: {message}")


def test_hostile_key_is_escaped(tmp_path: Path) -> None:
    """A key with control characters reaches the message escaped."""
    message = str(refusal(tmp_path, '[run]\n"a\\u001b[2J" = 1\n'))
    assert message == 'aiq.toml: run."a\\u001b[2J": unknown key'


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    """A device in the place of a file costs neither time nor memory; a pipe is read."""
    with pytest.raises(ConfigError, match="too large"):
        load(config_path=Path("/dev/zero"), environ={}, working_directory=tmp_path)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=(tmp_path / "pipe").write_text, args=('[[providers]]\npreset = "simulated"\n',)
    )
    writer.start()
    found = load(config_path=Path("pipe"), environ={}, working_directory=tmp_path)
    writer.join()
    assert [provider.name for provider in found.providers] == ["simulated"]


def test_named_file_must_exist(tmp_path: Path) -> None:
    """A file given by name and not there is refused; a folder is no file."""
    for name in ("other.toml", "."):
        with pytest.raises(ConfigError, match=r"no such file|cannot be read"):
            load(config_path=Path(name), environ={}, working_directory=tmp_path)
