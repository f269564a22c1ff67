"""Measure the search engine: recall, time, memory and builds of generated collections, and the embedder's pace.

`python -m tests.benchmarks.search` takes some minutes; with --million a million entries are built and searched, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from tests.benchmarks.bare_embedder import BareModel
from tests.benchmarks.figures import Figure, machine, table_of
from workers.vectors.embedders.minilm import MiniLm
from workers.vectors.filters import Between, Condition, HasAll, HasNone
from workers.vectors.masks import Masks
from workers.vectors.nearest import TIE
from workers.vectors.query import Query
from workers.vectors.schema import Entry, Field, Kind, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot

Floats = NDArray[np.float32]
Result = TypeVar("Result")

CLUSTERS = 1_000
SPREAD = 0.7  # length of what sets an entry apart from the middle of its cluster
ASKED_APART = 0.3  # length of what sets a query apart from an entry
WORDS = 20_000  # different words of titles, the n-th as frequent as 1/n
TAGS = 60
NEIGHBOURS = 10
BLOCK = 10_000
CHANGED = 0.01  # share of the entries that a second build replaces

FILTERS: dict[str, Sequence[Condition]] = {
    "half": (Between("year", 1993),),
    "a tenth": (Between("year", 2000, 2006),),
    "few": (HasAll("tags", ("tag3", "tag7")), HasNone("type", ("TV",))),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A collection to be made."""

    name: str
    entries: int
    dimensions: int
    queries: int

    @property
    def schema(self) -> Schema:
        return Schema(
            spaces={"text": Space(dimensions=self.dimensions)},
            columns={"year": Kind.NUMBER, "score": Kind.NUMBER, "type": Kind.LABELS, "tags": Kind.LABELS},
            fields={"title": Field(weight=10, corrects_typos=True), "tags": Field(weight=2)},
        )


LITTLE = Size(name="2,000 x 384", entries=2_000, dimensions=384, queries=10)
USUAL = Size(name="40,000 x 384", entries=40_000, dimensions=384, queries=200)
MILLION = Size(name="1,000,000 x 64", entries=1_000_000, dimensions=64, queries=200)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one reader process found."""

    open_seconds: float
    # name of what was asked -> milliseconds of each query, on the clock and of the processor
    times: dict[str, list[tuple[float, float]]]
    recalls: dict[str, float]
    resident_mb: float
    own_mb: float


def _unit(vectors: Floats) -> Floats:
    found: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def _vectors(size: Size, count: int, chance: np.random.Generator) -> Floats:
    centres = _unit(np.random.default_rng(0).standard_normal((CLUSTERS, size.dimensions), np.float32))
    apart = _unit(chance.standard_normal((count, size.dimensions), np.float32))
    return _unit(centres[chance.integers(0, CLUSTERS, count)] + np.float32(SPREAD) * apart)


def _word(number: int) -> str:
    syllables = ("na", "ru", "to", "be", "bo", "ki", "mo", "sha", "lin", "gar", "den", "zo", "fi", "ra", "tsu", "wen")
    return "".join(syllables[number >> place & 15] for place in (0, 4, 8, 12))


def _zipf(chance: np.random.Generator, among: int, count: int) -> list[int]:
    drawn = np.exp(chance.random(count) * np.log(among)).astype(np.int64)
    return [int(one) for one in drawn]


def _entries(size: Size, first: int, count: int, seed: int) -> list[Entry]:
    chance = np.random.default_rng((seed, first))
    vectors = _vectors(size, count, chance)
    years, scores = chance.integers(1960, 2027, count).tolist(), chance.random(count).tolist()
    kinds = chance.choice(["TV", "Movie", "OVA"], count).tolist()
    return [
        Entry(
            id=f"entry-{first + place:07d}",
            vectors={"text": vectors[place]},
            texts={"title": [" ".join(map(_word, _zipf(chance, WORDS, 3)))], "tags": tags},
            attributes={"year": years[place], "score": scores[place], "type": kinds[place], "tags": tags},
        )
        for place in range(count)
        for tags in ([f"tag{number}" for number in set(_zipf(chance, TAGS, 6))],)
    ]


def build(size: Size, folder: Path, base: str | None, count: int, seed: int) -> tuple[str, float]:
    """Publish so many entries and return the snapshot's name and the processor time, without making the entries."""
    spent = -time.process_time()
    with Shelf(folder).building(size.schema, base=base) as build:
        for first in range(0, count, BLOCK):
            spent += time.process_time()
            entries = _entries(size, first, min(BLOCK, count - first), seed)
            spent -= time.process_time()
            for entry in entries:
                build.put(entry)
        name = build.publish()
        spent += time.process_time()
    return name, spent


def _read(size: Size, folder: Path, name: str) -> Reading:
    """Search as a reader process does; its memory is looked at before anything is compared with the truth."""
    started = time.perf_counter()
    snapshot = Shelf(folder).open(name)
    opened = time.perf_counter() - started
    asked = list(queries(size, snapshot))
    times = {
        "unfiltered": _timed(snapshot, [Query(near={"text": vector}) for vector, _ in asked]),
        **{
            f"filtered, {name}": _timed(snapshot, [Query(near={"text": vector}, conditions=one) for vector, _ in asked])
            for name, one in FILTERS.items()
        },
        "words": _timed(snapshot, [Query(text=text) for _, text in asked]),
        "words, misspelt": _timed(snapshot, [Query(text=_misspelt(text)) for _, text in asked]),
        "hybrid, filtered": _timed(
            snapshot, [Query(text=text, near={"text": vector}, conditions=FILTERS["half"]) for vector, text in asked]
        ),
    }
    resident, own = _memory_mb()
    vectors = [vector for vector, _ in asked]
    recalls = {name: _recall(snapshot, vectors, one) for name, one in {"unfiltered": (), **FILTERS}.items()}
    return Reading(open_seconds=opened, times=times, recalls=recalls, resident_mb=resident, own_mb=own)


def queries(size: Size, snapshot: Snapshot) -> Iterator[tuple[Floats, str]]:
    chance = np.random.default_rng(7)
    for _ in range(size.queries):
        entry = snapshot.entry(f"entry-{chance.integers(size.entries):07d}")
        apart = _unit(chance.standard_normal((1, size.dimensions), np.float32))[0]
        (vector,) = _unit((entry.vectors["text"] + np.float32(ASKED_APART) * apart)[None])
        yield vector, entry.texts["title"][0]


def _misspelt(text: str) -> str:
    return " ".join(word[:2] + word[3] + word[2] + word[4:] if len(word) > 5 else word for word in text.split())


def _timed(snapshot: Snapshot, queries: Sequence[Query]) -> list[tuple[float, float]]:
    times = []
    for query in (queries[0], *queries):
        started, spent = time.perf_counter(), time.process_time()
        snapshot.search(query)
        times.append(((time.perf_counter() - started) * 1e3, (time.process_time() - spent) * 1e3))
    return times[1:]


def _recall(snapshot: Snapshot, vectors: Sequence[Floats], conditions: Sequence[Condition]) -> float:
    """Return the share of the true neighbours that are found, by comparing with every vector in float32."""
    space, allowed = snapshot._spaces["text"], Masks(snapshot._columns).met_by_all(conditions)
    found = wanted = 0
    for vector in vectors:
        scores = space.units @ vector
        scores = np.sort(scores if allowed is None else scores[allowed])[::-1][:NEIGHBOURS]
        hits = snapshot.search(Query(near={"text": vector}, conditions=conditions, k=NEIGHBOURS))
        wanted += len(scores)
        found += sum(hit.score >= scores[-1] - TIE for hit in hits)
    return float(found / wanted)


def _memory_mb() -> tuple[float, float]:
    """Return what is resident, and what of it no other process shares."""
    lines = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    kib = {fields[0]: int(fields[1]) for fields in lines}
    return kib["Rss:"] / 1024, (kib["Private_Dirty:"]) / 1024


def _collection(size: Size) -> Iterator[Figure]:
    with TemporaryDirectory(prefix="bench-search-") as name:
        folder = Path(name)
        first, spent = apart(build, size, folder, None, size.entries, 1)
        shelf = Shelf(folder)
        with shelf.open(first) as snapshot:
            form, bytes_ = snapshot.manifest.spaces["text"], snapshot.manifest.size
        note = "exact" if form.graph is None else f"graph, search expansion {form.graph.expansion}"
        yield Figure(name=f"{size.name}: build", value=spent, unit="core s", note=note)
        yield Figure(name=f"{size.name}: size", value=bytes_ / 1e6, unit="MB")
        reading = apart(_read, size, folder, first)
        for what, recall in reading.recalls.items():
            yield Figure(name=f"{size.name}: recall@10, {what}", value=recall, unit="", at_least=0.97)
        for what, times in reading.times.items():
            (middle, high), (busy, busiest) = (middle_and_high(one) for one in zip(*times, strict=True))
            note = f"processor time p50 {busy:.2f} ms, p95 {busiest:.2f} ms"
            yield Figure(name=f"{size.name}: p50, {what}", value=middle, unit="ms")
            yield Figure(name=f"{size.name}: p95, {what}", value=high, unit="ms", at_most=10, note=note)
        yield Figure(name=f"{size.name}: open, all hashes checked", value=reading.open_seconds, unit="s")
        yield Figure(name=f"{size.name}: reader, resident", value=reading.resident_mb, unit="MB")
        yield Figure(name=f"{size.name}: reader, its own", value=reading.own_mb, unit="MB")
        started = time.perf_counter()
        _, spent = apart(build, size, folder, first, int(size.entries * CHANGED), 2)
        took = time.perf_counter() - started
        yield Figure(name=f"{size.name}: 1 % changed, published", value=took, unit="s", note=f"{spent:.1f} core s")


def middle_and_high(values: Sequence[float]) -> tuple[float, float]:
    parts = quantiles(values, n=20)
    return parts[9], parts[18]


def apart(work: Callable[..., Result], *given: Any) -> Result:
    # A process of its own, so that nothing is warm and its memory is that of this work.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def _embedder(count: int) -> Iterator[Figure]:
    texts = [" ".join(map(_word, _zipf(np.random.default_rng((5, one)), WORDS, 3 + one % 16))) for one in range(count)]
    model, published, own = MiniLm(), BareModel(is_published=True), BareModel(is_published=False)
    batches = {bare: bare.batches_of(texts) for bare in (published, own)}
    ours: list[float] = []
    spent: dict[BareModel, list[float]] = {published: [], own: []}
    for _ in range(3):  # in turns, so that a busy machine is so for all
        ours.append(_spent(lambda: model.embed_documents(texts)))
        for bare, given in batches.items():
            spent[bare].append(_spent(partial(bare.run, given)))
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches[own])
    note = f"{tokens / count:.0f} tokens a text"
    yield Figure(name="embedder: texts a core second", value=count / min(ours), unit="1/s", note=note)
    for bare, name in ((published, "the published model"), (own, "its own model")):
        ratio = min(spent[bare]) / min(ours)
        yield Figure(name=f"embedder beside {name}, bare", value=ratio, unit="", at_least=0.9)


def _spent(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(*, is_million: bool, is_short: bool) -> list[Figure]:
    """Return all figures."""
    sizes = [LITTLE if is_short else USUAL, *([MILLION] if is_million else [])]
    figures = list(_embedder(32 if is_short else 512))
    for size in sizes:
        figures += _collection(size)
    return figures


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search", description=__doc__)
    parser.add_argument("--million", action="store_true", help="a million entries, too: ten minutes and 4 GB of disk")
    parser.add_argument("--short", action="store_true", help="see that it works: too small for the goals to mean much")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args(given)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the stack sets it: the processes fan out, not the library
    where = machine()
    figures = measure(is_million=arguments.million, is_short=arguments.short)
    if arguments.json:
        sys.stdout.write(json.dumps({"machine": where, "figures": [one.to_json() for one in figures]}, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in where.items()))
    console.print(table_of(figures))
    for figure in figures:
        if figure.note:
            console.print(f"  {figure.name}: {figure.note}", markup=False)


if __name__ == "__main__":
    main()
