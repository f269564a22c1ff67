"""Collections shared by the tests."""

import pytest

from tests.taste_data import CATALOGUE, Catalogue, Tracks, made_series, made_tracks, published
from workers.taste.collection import NAMINGS, Collection


@pytest.fixture(scope="package")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Tracks:
    """Three thousand tracks in a dozen groups."""
    return published(tmp_path_factory.mktemp("tracks"), made_tracks(3000))


@pytest.fixture(scope="package")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Two thousand series of a dozen genres."""
    found = published(tmp_path_factory.mktemp("catalogue"), made_series(2000), CATALOGUE)
    return Catalogue(collection=Collection(found.snapshot, NAMINGS["catalogue"]), entries=found.entries)
