"""Pointers to snapshots on a real server: who swings one first wins, and the way back keeps what belongs together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from shared.clock import now
from shared.errors import IndexMissing, NothingToRollBack
from shared.model import Db
from shared.store import indexes
from shared.store.indexes import IndexPointer, Published

START = now()


def published(n: int) -> Published:
    moment = START + timedelta(days=n)
    return Published(
        snapshot=f"snapshot-{n}", entries=n, bytes=1000 * n, embedder="model", watermark=moment, built_at=moment
    )


def publish(db: Db, n: int, *, owner: str = "ada", name: str = "catalogue") -> bool:
    former = indexes.find(db, owner, name)
    return indexes.swing(db, IndexPointer.following(former, published(n), owner=owner, name=name))


def test_a_pointer_says_what_is_current_and_what_was_before(db: Db) -> None:
    assert publish(db, 1)
    assert publish(db, 2)
    pointer = indexes.find(db, "ada", "catalogue")
    assert pointer is not None
    assert (pointer.snapshot, pointer.previous, pointer.revision) == ("snapshot-2", "snapshot-1", 2)
    assert pointer.published == published(2)


def test_of_many_who_swing_from_the_same_revision_one_succeeds(db: Db) -> None:
    for first in (True, False):
        former = indexes.find(db, "ada", "catalogue")
        assert (former is None) is first

        def swing(n: int, former: IndexPointer | None = former) -> bool:
            following = IndexPointer.following(former, published(n), owner="ada", name="catalogue")
            return indexes.swing(db, following)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(swing, range(1, 9))) == 1


def test_rolling_back_brings_back_all_that_belongs_to_the_former_snapshot(db: Db) -> None:
    publish(db, 1)
    publish(db, 2)
    pointer = indexes.roll_back(db, "ada", "catalogue")
    assert pointer == indexes.find(db, "ada", "catalogue")
    assert pointer.published == published(1)
    assert (pointer.previous, pointer.revision) == ("snapshot-2", 3)
    assert indexes.roll_back(db, "ada", "catalogue").published == published(2)


def test_what_is_not_there_can_not_be_rolled_back(db: Db) -> None:
    with pytest.raises(IndexMissing):
        indexes.roll_back(db, "ada", "catalogue")
    publish(db, 1)
    with pytest.raises(NothingToRollBack):
        indexes.roll_back(db, "ada", "catalogue")


def test_an_owner_sees_the_pointers_of_no_other(db: Db) -> None:
    for owner in ("ada", "ada-2", "bob"):
        for name in ("tracks", "catalogue"):
            publish(db, 1, owner=owner, name=name)
    assert [one.id for one in indexes.find_all(db, "ada")] == ["ada.catalogue", "ada.tracks"]
    assert len(indexes.find_all(db)) == 6


def test_a_pointer_that_can_not_be_read_keeps_nobody_from_the_others(db: Db) -> None:
    publish(db, 1)
    db[indexes.COLLECTION].insert_one({"_id": "broken.catalogue", "snapshot": 7})

    assert len(indexes.find_all(db)) == 1
