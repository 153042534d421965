"""Azure's two styles of URL, and what its replies mean."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from aiq.model import Endpoint, Kind, Problem
from aiq.policy.outcomes import classify
from aiq.providers.azure import AzureDialect, resource_url
from aiq.providers.dialect import Dialect
from aiq.providers.dialects import dialect_for
from aiq.providers.openai import OpenAIDialect
from aiq.redaction import Secret

CLASSIC: Dialect = AzureDialect("2024-10-21")
RESOURCE = "https://res.openai.azure.com"


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint.CHAT, "openai/deployments/my-gpt/chat/completions"),
        (Endpoint.COMPLETIONS, "openai/deployments/my-gpt/completions"),
        (Endpoint.EMBEDDINGS, "openai/deployments/my-gpt/embeddings"),
        (Endpoint.RESPONSES, "openai/responses"),
    ],
)
def test_the_classic_style_names_deployment_and_version_in_the_url(
    endpoint: Endpoint, path: str
) -> None:
    assert CLASSIC.path(endpoint, "my-gpt") == f"{path}?api-version=2024-10-21"


def test_a_deployment_cannot_leave_its_place_in_the_url() -> None:
    url = httpx.URL(f"{RESOURCE}/{CLASSIC.path(Endpoint.CHAT, 'a/../b?api-version=x#y')}")
    assert url.params["api-version"] == "2024-10-21"
    assert url.raw_path.startswith(b"/openai/deployments/a%2F..%2Fb%3Fapi-version%3Dx%23y/chat/")


@pytest.mark.parametrize(
    "base_url",
    [
        RESOURCE,
        f"{RESOURCE}/",
        f"{RESOURCE}/openai",
        f"{RESOURCE}/openai/",
        f"{RESOURCE}/openai/deployments",
        f"{RESOURCE}/openai/deployments/other",
        f"{RESOURCE}/openai/deployments/other/",
    ],
)
def test_whatever_of_a_classic_url_is_given_the_request_goes_to_one_place(base_url: str) -> None:
    path = CLASSIC.path(Endpoint.CHAT, "my-gpt")
    assert str(httpx.URL(f"{resource_url(base_url)}/{path}")) == (
        f"{RESOURCE}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    )


def test_a_gateway_in_front_keeps_its_own_path() -> None:
    assert resource_url("https://gate.example/azure/openai") == "https://gate.example/azure"
    assert resource_url("https://gate.example/my/openai-proxy") == (
        "https://gate.example/my/openai-proxy"
    )


@pytest.mark.parametrize("tail", ["/openai/v1", "/openai/v1/"])
def test_the_newer_style_takes_no_version(tail: str) -> None:
    with pytest.raises(ValueError, match="takes no `api_version`"):
        resource_url(RESOURCE + tail)


def test_the_newer_style_is_plain_openai() -> None:
    dialect = dialect_for("openai")
    assert type(dialect) is OpenAIDialect
    url = httpx.URL(f"{RESOURCE}/openai/v1/{dialect.path(Endpoint.CHAT, 'my-gpt')}")
    assert str(url) == f"{RESOURCE}/openai/v1/chat/completions"
    wire = dialect.encode(Endpoint.CHAT, {}, model="my-gpt", cap=None, cap_field="max_tokens")
    assert json.loads(wire)["model"] == "my-gpt"


def test_an_openai_provider_with_an_api_version_is_azures() -> None:
    assert isinstance(dialect_for("openai", api_version="2024-10-21"), AzureDialect)


def test_the_key_has_its_own_header() -> None:
    assert CLASSIC.headers(Secret("K", "k1")) == [("api-key", "k1")]
    assert CLASSIC.headers(None) == []


def test_the_body_is_openais() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    wire = CLASSIC.encode(
        Endpoint.CHAT, body, model="my-gpt", cap=None, cap_field="max_completion_tokens"
    )
    assert json.loads(wire) == {
        "model": "my-gpt",
        "messages": body["messages"],
        "max_completion_tokens": 5,
    }


def test_the_list_of_models_says_nothing_about_deployments() -> None:
    """A deployment that answers must not look missing because its name is not a model's."""
    assert CLASSIC.models_path() == "openai/models?api-version=2024-10-21"
    assert not CLASSIC.lists_models


@pytest.mark.parametrize(
    ("status_code", "error", "kind"),
    [
        (
            400,
            {
                "message": "The response was filtered",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            },
            Kind.BAD_REQUEST,
        ),
        (404, {"code": "DeploymentNotFound", "message": "does not exist"}, Kind.NOT_FOUND),
        (401, {"code": "401", "message": "Access denied"}, Kind.AUTH),
        (429, {"code": "429", "message": "Please retry after 6 seconds."}, Kind.RATE_LIMITED),
    ],
)
def test_errors(status_code: int, error: dict[str, Any], kind: Kind) -> None:
    found = CLASSIC.read(Endpoint.CHAT, status_code, {}, json.dumps({"error": error}).encode())
    assert isinstance(found, Problem)
    outcome = classify(found, elapsed_s=0.1, answered_before=True)
    assert outcome.kind is kind
    assert outcome.retry_after_s == (6.0 if kind is Kind.RATE_LIMITED else None)
