"""Approximate search for large collections: a navigable small-world graph (HNSW, Malkov and Yashunin 2016) by usearch.

The graph covers the rows that were there when it was made. Rows that came later are compared one by one, rows that
went are skipped, and what the graph proposes gets its exact cosine: so a graph outlives small changes unharmed.

Chosen by measuring recall@10 on clustered vectors (1,000 clusters) against exact search, 200,000 x 64:

    connectivity, expansion   processor time   bytes    recall at a search expansion of 32, 64, 128, 256
    16, 64                    17 s             55 MB    0.988  0.989  0.994  0.999
    16, 128                   40 s             55 MB    0.998  0.999  0.999  0.999
    24, 128                   43 s             68 MB    0.999  0.999  0.999  0.999

1,000,000 x 64 with 16, 128 took 249 s. Queries at lengths of 0.2, 0.3 and 0.6 from an entry found of their neighbours:

    search expansion   0.2    0.3    0.6    processor time a query
    64                 0.990  0.966  0.925  0.29 ms
    128                0.996  0.993  0.979  0.36 ms
    512                1.000  1.000  1.000  0.72 ms
"""

from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

# usearch carries a C++ library of its own, and onnxruntime crashes on import where that came into the process first.
from workers.models import runtime as _first  # noqa: F401

# isort: split
from usearch.index import Index

from workers.vectors.coarse import CoarseIndex
from workers.vectors.embedding import Floats
from workers.vectors.exact import ExactIndex
from workers.vectors.nearest import Mask, Nearest, Rows, best

CONNECTIVITY = 16
EXPANSION_ADD = 128
# Tried in this order until the recall suffices.
EXPANSIONS_SEARCH = (256, 512, 1024)

# Up to so many allowed rows exact search on them is faster than asking the graph for many times k: of a million rows
# of 64 numbers some 100,000 come from memory in 6 ms, and the graph proposes 2,600 in 4.
SUBSET_MAX = 50_000
# Asked for more than this, the graph is slower than exact search.
_FETCH_MAX = 4_096
# What is asked for beyond the expected need: a share, for chance (of a million the time is that of the number asked
# for), and a few, for half precision may swap neighbours.
_SPARE, _FEW = 1.15, 8
_GROWTH_MAX = 4  # from one try to the next, where less is allowed near the query than elsewhere

_BLOCK = 50_000  # vectors handed to the graph at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphForm:
    """What is known of a graph's file."""

    # rows 0 to this are in the graph, but for those without a vector
    rows: int
    # how many of them were added
    size: int
    # how widely it is searched
    expansion: int


class GraphIndex:
    """A graph mapped into memory, beside the vectors that it was made from."""

    def __init__(self, path: Path, form: GraphForm, vectors: Floats, coarse: CoarseIndex | None = None) -> None:
        """Open the file, whose hash must have been checked: usearch trusts what it reads."""
        self._vectors = vectors
        self._exact = ExactIndex(vectors, coarse)
        self._form = form
        self._later: Rows = np.arange(form.rows, len(vectors), dtype=np.int64)
        # usearch holds the interpreter while it goes through the file, and everybody waits: for a million rows 0.2 s
        # where its pages are not there yet and its keys are to be put into a table, 0.04 s where we see to the pages
        # and have no need of the table.
        self._file: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        self._file[::PAGESIZE].max()
        self._graph: Any = Index.restore(self._file.data, view=True, enable_key_lookups=False)
        self.expansion = form.expansion
        # usearch keeps what a search needs for each thread that it starts itself: ours would share it.
        self._alone = Lock()

    @property
    def expansion(self) -> int:
        """How many candidates a search keeps: more find more, and take longer."""
        return int(self._graph.expansion_search)

    @expansion.setter
    def expansion(self, value: int) -> None:
        self._graph.expansion_search = value

    def search(self, query: Floats, k: int, allowed: Mask | None = None) -> Nearest:
        """Return the k nearest rows, as `VectorIndex` says; of few allowed rows, exactly."""
        if allowed is None:
            return self._asked(query, k, None, k + _FEW)
        count = int(np.count_nonzero(allowed))
        if count <= SUBSET_MAX:
            return self._exact.search(query, k, allowed)
        fetch = int(k * _SPARE * len(self._vectors) / count) + _FEW
        while fetch <= _FETCH_MAX:
            found = self._asked(query, k, allowed, fetch)
            if len(found.rows) >= k or fetch >= self._form.size:
                return found
            fetch = int(fetch * min(_SPARE * k / max(len(found.rows), 1), _GROWTH_MAX))
        # What is allowed lies far from the query: no number of neighbours is sure to reach it.
        return self._exact.search(query, k, allowed)

    def _asked(self, query: Floats, k: int, allowed: Mask | None, fetch: int) -> Nearest:
        with self._alone:
            proposed = self._graph.search(query, min(fetch, self._form.size), threads=1).keys.astype(np.int64)
        rows: Rows = np.concatenate((proposed, self._later))
        if allowed is not None:
            rows = rows[allowed[rows]]
        return best(rows, self._exact.scores(query, rows), k)


def write_graph(path: Path, vectors: Floats, chosen: Rows, *, threads: int = 1) -> GraphForm:
    """Make the graph of the chosen rows of vectors of unit length and write it, in half precision."""
    graph = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
    )
    for start in range(0, len(chosen), _BLOCK):
        rows = chosen[start : start + _BLOCK]
        graph.add(rows.astype(np.uint64), vectors[rows], threads=threads)
    graph.save(str(path))
    return GraphForm(rows=len(vectors), size=len(chosen), expansion=EXPANSIONS_SEARCH[0])
