"""Ids and pages of a catalogue's entries lead to one another."""

import pytest

from shared.catalogue_ids import PAGES, page_of
from workers.catalogue.identity import PROVIDERS, candidates, canonical


@pytest.mark.parametrize("prefix", PAGES)
def test_an_id_speaks_of_the_page_that_an_import_makes_it_of(prefix: str) -> None:
    page = page_of(f"{prefix}-17")

    assert page is not None
    assert canonical(page) == page
    assert next(candidates([page], "anime")) == f"{prefix}-17"


def test_every_well_known_site_is_there() -> None:
    assert set(PAGES) == {prefix for _, prefix in PROVIDERS.values()}


@pytest.mark.parametrize(
    "other", ["", "mal-", "mal-0", "mal-01", "mal-x", "track-1", "src-0123456789ab", "MAL-1", "mal-1 "]
)
def test_other_ids_speak_of_no_page(other: str) -> None:
    assert page_of(other) is None
