"""What a model reads of long documents, and the schemas that it is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from api.documents import ItemPage, JobItem, job_document
from api.mcp.answers import (
    BYTES_MAX,
    LINE_MAX,
    SUMMARY_BYTES_MAX,
    ended_answer,
    fitting,
    item_page_answer,
    job_answer,
    without_long_results,
)
from api.mcp.resources import bounded
from api.mcp.tool import lean
from api.mcp.wire import header_value
from shared.clock import now
from shared.items import ItemStatus
from shared.model import Json
from shared.store.job_record import JobError, JobRecord, JobStatus, Progress
from tests.mcp_client import text_of


def job(status: JobStatus, **fields: Any) -> JobRecord:
    return JobRecord(
        id="job_1",
        kind="squares",
        owner="local",
        user_id="ada",
        request={},
        status=status,
        created_at=now(),
        updated_at=now(),
        **fields,
    )


def page_of(sizes: Sequence[int], *, status: JobStatus = JobStatus.SUCCEEDED) -> ItemPage:
    items = [
        JobItem(index=n, item={"n": n}, status=ItemStatus.SUCCEEDED, result={"text": "x" * size}, error=None)
        for n, size in enumerate(sizes)
    ]
    return ItemPage(items=tuple(items), next_cursor="0.1.0", job_status=status)


def pages_of(sizes: Sequence[int], asked: list[int]) -> ItemPage:
    def read(limit: int) -> ItemPage:
        asked.append(limit)
        return page_of(sizes[:limit])

    return fitting(read, 100, lambda page: page.items)


def test_a_page_that_fits_is_read_once() -> None:
    asked: list[int] = []
    assert len(pages_of([100] * 20, asked).items) == 20
    assert asked == [100]


def test_a_page_that_is_too_long_is_read_again_with_as_many_as_fit() -> None:
    asked: list[int] = []
    assert len(pages_of([BYTES_MAX // 4] * 20, asked).items) == 3
    assert asked == [100, 3]


def test_a_single_item_that_is_too_long_comes_without_its_result() -> None:
    page = without_long_results(pages_of([BYTES_MAX, 10], []))
    assert [item.result for item in page.items] == [None]


def test_an_item_is_one_line_of_bounded_length() -> None:
    text = text_of(item_page_answer(page_of([5000, 3], status=JobStatus.RUNNING)).content)
    first, second, more = text.splitlines()
    assert len(first) <= LINE_MAX + 2
    assert second == "1 succeeded n=1 text=xxx"
    assert more == 'Give after="0.1.0" for the next page, a little later where this one is short.'


def test_an_empty_page_says_whether_more_may_come() -> None:
    nothing = page_of([]).model_copy(update={"next_cursor": None})
    assert text_of(item_page_answer(nothing).content) == "There are no such items."
    assert "No further item is done yet." in text_of(item_page_answer(page_of([])).content)


def test_a_summary_that_is_too_long_is_pointed_to() -> None:
    answer = job_answer(job_document(job(JobStatus.SUCCEEDED, summary={"text": "x" * SUMMARY_BYTES_MAX})))
    assert answer.structured_content is not None
    assert answer.structured_content["summary"] is None
    assert "read job://job_1" in text_of(answer.content)


@pytest.mark.parametrize(("status", "is_error"), [(JobStatus.FAILED, True), (JobStatus.PARTIAL, False)])
def test_only_a_job_in_which_nothing_is_good_ends_as_an_error(status: JobStatus, is_error: bool) -> None:
    record = job(
        status,
        error=JobError(code="no_items", message="There is nothing."),
        progress=Progress(total=3, total_is_exact=True, failed=2, succeeded=1, cached=0),
    )
    answer = ended_answer(job_document(record))
    assert answer.is_error is is_error
    assert text_of(answer.content) == (
        f"Job job_1 (squares) ended {status.value}: 3 of 3 items done, 2 failed. no_items: There is nothing."
        ' Call get_job_items with status ["failed"] for the reasons.'
    )


def test_a_document_that_is_too_long_says_what_it_leaves_out() -> None:
    document: Json = {"id": "a", "vector": list(range(BYTES_MAX)), "tags": {"calm": 0.5}}
    assert json.loads(bounded(document)) == {"id": "a", "tags": {"calm": 0.5}, "omitted": ["vector"]}
    assert json.loads(bounded({"id": "a"})) == {"id": "a"}


def test_a_schema_keeps_what_a_model_needs() -> None:
    schema: Json = {
        "title": "Request",
        "examples": [1],
        "properties": {"title": {"title": "Title", "type": "string", "default": {"title": "x"}}},
        "anyOf": [{"title": "A", "type": "null"}],
    }
    assert lean(schema) == {
        "properties": {"title": {"type": "string", "default": {"title": "x"}}},
        "anyOf": [{"type": "null"}],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("job_1", "job_1"),
        ("näc", "=?base64?bsOkYw==?="),
        (" a", "=?base64?IGE=?="),
        ("a\nb", "=?base64?YQpi?="),
        ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
    ],
)
def test_a_name_survives_in_a_header(text: str, value: str) -> None:
    assert header_value(text) == value
