"""
What a request holds beside text, and whether anybody can say how many tokens that is.

An image is one where its address says so: a data URI of an image, or a web address that ends like
one. Elsewhere the address of an image may stand for anything: Gemini takes books, films and videos
of YouTube under it. Sound that is spoken of as MP3 or WAV has at least some 1,000 bytes to the
second, and no vendor makes more than 32 tokens of that; a text has at most a token to the byte. A
PDF can have thousands of pages in a few kilobytes, a film or a container of another kind hours: of
these, and of all that is only referred to, nobody can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiq.model import JsonObject

IMAGE_TEXT_BYTES = 4_000
"""An image as text: 1,000 tokens of the usual four bytes."""

_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_ELSEWHERE = frozenset(
    {
        *("video_url", "audio_url", "document_url", "item_reference"),
        *("video", "audio", "document", "container_upload"),
    }
)
_IMAGE_ENDINGS = frozenset({"png", "jpg", "jpeg", "webp", "gif", "heic", "heif"})
_NO_IMAGE_HOSTS = ("youtube.com", "youtu.be", "generativelanguage.googleapis.com")
_BOUNDED_MEDIA = frozenset({"audio/mpeg", "audio/mp3", "audio/wav", "application/json"})
_BOUNDED_SOUND = frozenset({"mp3", "wav"})


class Attachments(NamedTuple):
    """What was found; `inline` are files and sounds that are no more tokens than bytes."""

    images: int = 0
    inline: int = 0


_NONE = Attachments()
_IMAGE = Attachments(images=1)
_INLINE = Attachments(inline=1)


def attachments(value: Any) -> Attachments | None:
    """Count what stands anywhere in a value; None: something in it is not all there."""
    if isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and kind in _KNOWN:
            return _of_kind(kind, value)
        return _sum(value.values())
    return _sum(value) if isinstance(value, list) else _NONE


def without_images(value: Any) -> Any:
    """Return a value without the images in it, whose bytes are not their tokens."""
    if isinstance(value, dict):
        if _is_image(value):
            return None
        return {name: without_images(inner) for name, inner in value.items()}
    return [without_images(inner) for inner in value] if isinstance(value, list) else value


def text_size(size: int, body: JsonObject) -> int:
    """
    Return the bytes of a request as if all of it were text, of `size` bytes in all.

    An image counts flat: what a model makes of it has nothing to do with its bytes.
    """
    given = body.get("messages", body.get("input"))
    if not isinstance(given, list):
        return size
    count = length = 0
    for message in given:
        if isinstance(message, dict) and type(message.get("content")) is str:
            continue
        for image in _images_in(message):
            count += 1
            length += sum(len(text) for text in _texts_in(image))
    return max(0, size - length) + count * IMAGE_TEXT_BYTES


def _images_in(value: Any) -> Iterator[JsonObject]:
    if isinstance(value, dict) and _is_image(value):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _images_in(inner)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)


def _sum(values: Iterable[Any]) -> Attachments | None:
    images = inline = 0
    for value in values:
        if isinstance(value, dict | list):
            found = attachments(value)
            if found is None:
                return None
            images, inline = images + found.images, inline + found.inline
    return Attachments(images, inline) if images or inline else _NONE


def _is_image(part: JsonObject) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in _IMAGES


def _of_kind(kind: str, part: JsonObject) -> Attachments | None:
    if kind in _IMAGES:
        return _IMAGE if _is_address_of_image(_address(part)) else None
    if kind == "input_audio":
        sound = part.get("input_audio")
        form = sound.get("format") if isinstance(sound, dict) else None
        return _INLINE if isinstance(form, str) and form in _BOUNDED_SOUND else None
    if kind in ("file", "input_file"):
        return _of_file(part.get("file") if kind == "file" else part)
    return None


def _of_file(held: Any) -> Attachments | None:
    """Judge a file by the type it says it has; only one whose bytes are here is bounded."""
    if not isinstance(held, dict) or held.get("file_id") or held.get("file_url"):
        return None
    media_type = _media_type(held.get("file_data"))
    if media_type is None:
        return None
    if media_type.startswith("image/"):
        return _IMAGE
    is_bounded = media_type.startswith("text/") or media_type in _BOUNDED_MEDIA
    return _INLINE if is_bounded else None


def _address(part: JsonObject) -> Any:
    """Return where an image is; Anthropic's own form says so in its `source`."""
    held = part.get("image_url")
    source = part.get("source")
    if isinstance(source, dict):
        if source.get("type") == "base64":
            return f"data:{source.get('media_type')};base64,"
        held = source
    return held.get("url") if isinstance(held, dict) else held


def _media_type(url: Any) -> str | None:
    """Return the media type of a data URI; None: it is none."""
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return None
    return url[5:105].partition(",")[0].partition(";")[0].strip().lower()


def _is_address_of_image(url: Any) -> bool:
    media_type = _media_type(url)
    if media_type is not None:
        return media_type.startswith("image/")
    return isinstance(url, str) and _is_image_of_the_web(url)


def _is_image_of_the_web(url: str) -> bool:
    """Whether an address ends like an image, at a host that has no films behind any name."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host or parts.fragment:
        return False
    is_other = any(host == one or host.endswith(f".{one}") for one in _NO_IMAGE_HOSTS)
    return not is_other and parts.path.rpartition(".")[2].lower() in _IMAGE_ENDINGS


_KNOWN = _IMAGES | _ELSEWHERE | {"file", "input_file", "input_audio"}
