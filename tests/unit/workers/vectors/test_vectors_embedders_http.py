"""An endpoint's vectors are taken as they belong to their texts; whatever else it answers is said in words."""

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from tests.endpoint import Answer, Asked, Endpoint, serving
from workers.vectors.embedders import http
from workers.vectors.embedders.choice import embedder_of
from workers.vectors.embedders.http import BATCH_CHARACTERS_MAX, BATCH_MAX, TEXT_MAX, HttpEmbedder
from workers.vectors.errors import EmbedderRefused, EmbedderUnavailable, EmbedderUnsound, WrongEmbedder

DIMENSIONS = 4
KEY = "sk-very-secret"


def _vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    return [float(len(text)), *(float(ord(one)) for one in f"{text:<{dimensions}}"[: dimensions - 1])]


def _embed(asked: Asked) -> Answer:
    """Answer as the real service does, but last text first: the places are in the answer."""
    size = asked.body.get("dimensions", DIMENSIONS)
    data = [{"index": place, "embedding": _vector(text, size)} for place, text in enumerate(asked.body["input"])]
    return Answer(body={"object": "list", "data": data[::-1], "model": asked.body["model"]})


@contextmanager
def _speaking_to(
    answer: Callable[[Asked], Answer | None], *, dimensions: int | None = DIMENSIONS, timeout_seconds: float = 30
) -> Iterator[tuple[Endpoint, HttpEmbedder]]:
    with serving(answer) as endpoint:
        embedder = HttpEmbedder(
            "little", url=f"{endpoint.url}/v1/", key=KEY, dimensions=dimensions, timeout_seconds=timeout_seconds
        )
        try:
            yield endpoint, embedder
        finally:
            embedder.close()


def _units(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    vectors = np.asarray([_vector(text) for text in texts])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_each_text_gets_its_own_vector_of_unit_length() -> None:
    texts = [f"text {number}" * (number % 7) or "x" for number in range(600)]

    with _speaking_to(_embed) as (endpoint, embedder):
        vectors = embedder.embed_documents(texts)
        query = embedder.embed_query("text 5")

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, _units(texts), atol=1e-6)
    np.testing.assert_allclose(query, _units(["text 5"])[0], atol=1e-6)
    assert [len(asked.body["input"]) for asked in endpoint.asked] == [BATCH_MAX, BATCH_MAX, 600 - 2 * BATCH_MAX, 1]
    first = endpoint.asked[0]
    assert (first.method, first.path) == ("POST", "/v1/embeddings")
    assert first.headers["Authorization"] == f"Bearer {KEY}"
    assert first.body | {"input": []} == {
        "model": "little",
        "input": [],
        "encoding_format": "float",
        "dimensions": DIMENSIONS,
    }


def test_long_texts_are_cut_and_sent_in_smaller_batches() -> None:
    with _speaking_to(_embed) as (endpoint, embedder):
        embedder.embed_documents(["x" * (TEXT_MAX + 1)] * 60)

    sent = [asked.body["input"] for asked in endpoint.asked]
    assert {len(text) for batch in sent for text in batch} == {TEXT_MAX}
    assert all(sum(map(len, batch)) <= BATCH_CHARACTERS_MAX for batch in sent)
    assert [len(batch) for batch in sent] == [25, 25, 10]


@pytest.mark.parametrize("text", ["", "\udc80", "\0", "🎉"])
def test_any_text_has_a_vector(text: str) -> None:
    with _speaking_to(_embed) as (endpoint, embedder):
        assert float(np.linalg.norm(embedder.embed_query(text))) == pytest.approx(1)

    assert all(endpoint.asked[0].body["input"])


def test_no_texts_ask_nobody() -> None:
    with _speaking_to(_embed) as (endpoint, embedder):
        assert embedder.embed_documents([]).shape == (0, DIMENSIONS)

    assert endpoint.asked == []


def test_the_length_of_a_vector_is_found_out_once_where_nobody_gave_it() -> None:
    with _speaking_to(_embed, dimensions=None) as (endpoint, embedder):
        assert embedder.dimensions == DIMENSIONS
        assert embedder.embed_documents(["a", "b"]).shape == (2, DIMENSIONS)
        assert embedder.id.endswith(f"/{DIMENSIONS}")

    assert len(endpoint.asked) == 2
    assert "dimensions" not in endpoint.asked[1].body


def test_the_id_changes_with_the_model_the_address_and_the_length() -> None:
    def named(model: str = "m", url: str = "http://one", dimensions: int = 3) -> str:
        embedder = HttpEmbedder(model, url=url, dimensions=dimensions)
        embedder.close()
        return embedder.id

    assert len({named(), named("n"), named(url="http://two"), named(dimensions=4)}) == 4
    assert named() == named(url="http://one/")


@pytest.mark.parametrize(
    ("status", "after", "low", "high"),
    [
        (429, "7", 7, 7),
        (429, "0.5", 0.5, 0.5),
        (429, timedelta(seconds=600), 500, 601),
        (429, timedelta(days=-1), 0, 0),
        (429, "99999999", 3600, 3600),
        (429, "soon", 15, 15),
        (429, "nan", 15, 15),
        (429, "-3", 0, 0),
        (500, None, 15, 15),
        (503, "30", 30, 30),
        (408, None, 15, 15),
    ],
)
def test_an_endpoint_that_has_had_enough_says_when_to_come_back(
    status: int, after: str | timedelta | None, low: float, high: float
) -> None:
    if isinstance(after, timedelta):
        after = format_datetime(datetime.now(UTC) + after, usegmt=True)
    headers = {} if after is None else {"Retry-After": after}
    error = {"error": {"message": f"slow down, {KEY}"}}

    with (
        _speaking_to(lambda _: Answer(body=error, status=status, headers=headers)) as (endpoint, embedder),
        pytest.raises(EmbedderUnavailable, match=rf"answered {status} for little: slow down, \*\*\*") as raised,
    ):
        embedder.embed_query("x")

    assert low <= raised.value.retry_after_seconds <= high
    assert len(endpoint.asked) == 1  # who asked decides whether to ask again


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"error": {"message": "no such key"}}, "no such key"),
        (400, {"error": "too long"}, "too long"),
        (404, b"<html>nothing here</html>", "nothing here"),
        (301, b"", "301"),
    ],
)
def test_an_endpoint_that_refuses_is_quoted(status: int, body: Any, says: str) -> None:
    with (
        _speaking_to(lambda _: Answer(body=body, status=status)) as (_, embedder),
        pytest.raises(EmbedderRefused, match=says),
    ):
        embedder.embed_query("x")


def _data(*vectors: Any) -> Any:
    return {"data": [{"index": place, "embedding": one} for place, one in enumerate(vectors)]}


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"",
        [],
        {"data": None},
        {"data": [{"embedding": [1, 2, 3, 4]}]},
        _data([1, 2, 3, 4]),
        _data([1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]),
        _data([1, 2, 3, 4], [1, 2, 3]),
        _data([1, 2, 3], [1, 2, 3]),
        _data([], []),
        _data(1, 2),
        _data("AAAA", "AAAA"),
        _data([1, 2, 3, 4], [0, 0, 0, 0]),
        _data([1, 2, 3, 4], [1, 2, 3, None]),
        json.dumps(_data([1, 2, 3, 4], [1, 2, 3, float("nan")])).encode(),
        {"data": [{"index": 0, "embedding": [1, 2, 3, 4]}] * 2},
        {"data": [{"index": [], "embedding": [1, 2, 3, 4]}] * 2},
    ],
)
def test_what_cannot_be_the_vectors_of_the_texts_is_refused(body: Any) -> None:
    with _speaking_to(lambda _: Answer(body=body)) as (_, embedder), pytest.raises(EmbedderUnsound):
        embedder.embed_documents(["one", "two"])


def test_an_endpoint_that_never_answers_is_left_after_a_while() -> None:
    def hang(asked: Asked) -> None:
        endpoint.over.wait(30)

    with (
        _speaking_to(hang, timeout_seconds=0.2) as (endpoint, embedder),
        pytest.raises(EmbedderUnavailable, match="does not answer") as raised,
    ):
        embedder.embed_query("x")

    assert raised.value.retry_after_seconds > 0


def test_an_answer_that_never_ends_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_ANSWER_MAX", 1000)

    with (
        _speaking_to(lambda _: Answer(body=b" " * 100_000)) as (_, embedder),
        pytest.raises(EmbedderUnavailable, match="does not end"),
    ):
        embedder.embed_query("x")


def test_an_endpoint_that_hangs_up_is_asked_again_later() -> None:
    with _speaking_to(lambda _: None) as (_, embedder), pytest.raises(EmbedderUnavailable):
        embedder.embed_query("x")


def test_an_endpoint_that_is_down_is_asked_again_later() -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        embedder = HttpEmbedder("little", url=f"http://127.0.0.1:{taken.getsockname()[1]}", dimensions=2)
        with pytest.raises(EmbedderUnavailable, match="does not answer"):
            embedder.embed_query("x")
        embedder.close()


@pytest.mark.parametrize("url", ["", "example.com/v1", "ftp://example.com", "http://", "http://a:port", "/v1"])
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(WrongEmbedder, match="must look like"):
        embedder_of("openai:little", url=url)
