"""A text model behind an endpoint that speaks OpenAI's `POST /embeddings`, as many servers do.

Its vectors are only as stable as the endpoint: a model that changes under the same name is not noticed.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpx
import numpy as np

from workers.vectors.embedding import Floats, unit
from workers.vectors.errors import EmbedderRefused, EmbedderUnavailable, EmbedderUnsound, WrongEmbedder

# Of one request; OpenAI takes 2,048 texts of together 300,000 tokens.
BATCH_MAX = 256
BATCH_CHARACTERS_MAX = 200_000
# No more of a text is sent: the endpoint's tokenizer is unknown here, and it may refuse a text of too many tokens.
TEXT_MAX = 8_000
_CHARACTERS_A_TOKEN = 4  # of English

_PAUSE_SECONDS = 15.0  # where the endpoint does not say when to come back
_PAUSE_MAX_SECONDS = 3600.0  # an endpoint that wants longer is asked again then
_CONNECT_SECONDS = 5.0
_ANSWER_MAX = BATCH_MAX * 8_192 * 32  # bytes: as many numbers as can be, written out
_QUOTED_MAX = 200  # characters of an endpoint's answer in a message
_PROBE = "The length of this text's vector is that of every text."


class HttpEmbedder:
    """A model behind an endpoint; it waits for an answer, but never between two tries."""

    max_tokens = TEXT_MAX // _CHARACTERS_A_TOKEN

    def __init__(
        self,
        model: str,
        *,
        url: str,
        key: str | None = None,
        dimensions: int | None = None,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Speak to `url` + /embeddings; nothing is sent before a vector, or their length, is asked for.

        Args:
            dimensions: what the model is asked to make; None for its own, which one request finds out.
            timeout_seconds: how long an answer may take.

        Raises:
            WrongEmbedder: if the address can't be.
        """
        self._model = model
        self._key = key
        self._asked = dimensions
        self._url = _checked(url)
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
        )

    @cached_property
    def dimensions(self) -> int:
        """Return the length of each vector; raises as `embed_documents` if it has to be found out."""
        return self._asked or int(self._embed([_PROBE]).shape[1])

    @property
    def id(self) -> str:
        """Return what vectors are kept under: the model, where it is asked, the length; raises as `dimensions`."""
        place = hashlib.sha256(str(self._url).encode()).hexdigest()[:12]
        return f"openai/{self._model}/{place}/{self.dimensions}"

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors of shape (texts, dimensions), in the texts' order.

        Raises:
            EmbedderUnavailable: if the endpoint does not answer now; it says when to come back.
            EmbedderRefused: if it does not take the key, the model or the texts.
            EmbedderUnsound: if it answers with what can't be these texts' vectors.
        """
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        done = 0
        for batch in _batches([_readable(text) for text in texts]):
            found = self._embed(batch)
            if found.shape[1] != self.dimensions:
                raise EmbedderUnsound(
                    f"{self._model} answered with vectors of {found.shape[1]} dimensions, not {self.dimensions}."
                )
            vectors[done : done + len(batch)] = found
            done += len(batch)
        return vectors

    def embed_query(self, text: str) -> Floats:
        """Return the unit vector of one text, shape (dimensions,); raises as `embed_documents`."""
        return np.asarray(self.embed_documents([text])[0])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(self, texts: Sequence[str]) -> Floats:
        body: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._asked is not None:
            body["dimensions"] = self._asked
        return self._vectors(self._answer(body), len(texts))

    def _answer(self, body: dict[str, Any]) -> httpx.Response:
        try:
            response = self._received(body)
        except httpx.HTTPError as error:
            reason = f"{self._url} does not answer: {type(error).__name__} {error}".rstrip()
            raise EmbedderUnavailable(reason, retry_after_seconds=_PAUSE_SECONDS) from None
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise EmbedderUnavailable(self._quoted(response), retry_after_seconds=_pause(response))
        if response.status_code != 200:
            raise EmbedderRefused(self._quoted(response))
        return response

    def _received(self, body: dict[str, Any]) -> httpx.Response:
        """Send and read the whole answer within the time: the client's own limit is only for each part of it."""
        end = time.monotonic() + self._timeout_seconds
        with self._client.stream("POST", self._url, json=body) as response:
            content = bytearray()
            for part in response.iter_bytes():
                content += part
                if time.monotonic() > end or len(content) > _ANSWER_MAX:
                    raise httpx.ReadTimeout("the answer does not end")
            headers = {"Retry-After": response.headers.get("Retry-After", "")}
            return httpx.Response(response.status_code, headers=headers, content=bytes(content))

    def _quoted(self, response: httpx.Response) -> str:
        """Say what came back, without the key, which some servers repeat."""
        try:
            error = response.json()["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            said = response.text
        said = said.replace(self._key, "***") if self._key else said
        return f"{self._url} answered {response.status_code} for {self._model}: {' '.join(said.split())[:_QUOTED_MAX]}"

    def _vectors(self, response: httpx.Response, count: int) -> Floats:
        """Return the vectors of an answer, in the order of their texts."""
        try:
            found = {item["index"]: item["embedding"] for item in response.json()["data"]}
            vectors = np.asarray([found[place] for place in range(count)], np.float64)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise EmbedderUnsound(f"{self._url} answered with something else than {count} vectors.") from None
        if len(found) != count or vectors.ndim != 2 or not vectors.shape[1]:
            raise EmbedderUnsound(f"{self._url} answered with {len(found)} vectors for {count} texts.")
        if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
            raise EmbedderUnsound(f"{self._url} answered with vectors that are zero or not finite.")
        # By the largest number first, lest the squares of very large or small ones be lost.
        return unit(vectors / np.abs(vectors).max(axis=1, keepdims=True))


def _checked(url: str) -> httpx.URL:
    try:
        address = httpx.URL(f"{url.rstrip('/')}/embeddings")
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise WrongEmbedder("The address of the embedder must look like https://api.openai.com/v1.")
    return address


def _readable(text: str) -> str:
    """Return what is sent of a text: endpoints refuse one that is empty."""
    return text[:TEXT_MAX].encode("utf-8", "replace").decode() or " "


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    first, characters = 0, 0
    for place, text in enumerate(texts):
        if place - first == BATCH_MAX or (place > first and characters + len(text) > BATCH_CHARACTERS_MAX):
            yield texts[first:place]
            first, characters = place, 0
        characters += len(text)
    if first < len(texts):
        yield texts[first:]


def _pause(response: httpx.Response) -> float:
    """Return the seconds after which to come back: RFC 9110 gives them, or a date."""
    given = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(given).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return _PAUSE_SECONDS
    return min(max(seconds, 0.0), _PAUSE_MAX_SECONDS) if math.isfinite(seconds) else _PAUSE_SECONDS
