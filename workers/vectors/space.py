"""The vectors of one space: kept as they came where they are standardised, and searched at unit length."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workers.vectors.arrays import ArrayWriter, Form, map_array, write_array
from workers.vectors.coarse import WIDE, CoarseFiles
from workers.vectors.embedding import Floats, unit
from workers.vectors.exact import ExactIndex
from workers.vectors.graph import EXPANSIONS_SEARCH, GraphForm, GraphIndex, write_graph
from workers.vectors.nearest import Mask, Nearest, Rows, VectorIndex
from workers.vectors.recall import AIM, ENOUGH, Trial
from workers.vectors.scaling import Scaler
from workers.vectors.schema import Entry, Space

# Above either, comparing with every vector takes more than 5 ms of one core, and a graph is made.
SCANNED_ROWS_MAX = 100_000
SCANNED_NUMBERS_MAX = 80_000_000

# A graph goes on from one snapshot to the next while it misses no more rows than fast exact search can add ...
_LATER_MAX = 20_000
# ... and while no more than this share of it are rows that have gone.
_GONE_SHARE = 0.2

_BLOCK = 16_384  # rows at a time
# Among so many rows, at most, the coarse copy must miss none, with so many queries.
_COMPARED, _TRIED = 50_000, 100


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceForm:
    """What the manifest says of a space."""

    # how many living rows have a vector
    vectors: int
    # share of the true ten nearest that the index found when it was built; 1 for exact search
    recall: float
    graph: GraphForm | None
    scaler: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> "SpaceForm":
        """Return the form that `to_json` wrote."""
        graph = known["graph"]
        return cls(**{**known, "graph": None if graph is None else GraphForm(**graph)})


def unit_file(name: str) -> str:
    """Return the name of the file with the vectors that are searched."""
    return f"space.{name}.unit.bin"


def original_file(name: str) -> str:
    """Return the name of the file with the vectors as they came, of a standardised space."""
    return f"space.{name}.original.bin"


def living_file(name: str) -> str:
    """Return the name of the file that says which rows can be found, where not all can."""
    return f"space.{name}.living.bin"


def graph_file(name: str) -> str:
    """Return the name of the file with the graph, where there is one."""
    return f"space.{name}.usearch"


class SpaceWriter:
    """Writes one space of a snapshot that is being built, row after row."""

    def __init__(self, folder: Path, name: str, space: Space, *, kept: int, before: SpaceForm | None) -> None:
        """Go on in a folder that holds `kept` rows of an earlier snapshot, of which `before` speaks."""
        self._folder = folder
        self._name = name
        self._space = space
        self._kept = kept
        self._before = before
        self._coarse_files = CoarseFiles.of(name)
        file = original_file(name) if space.is_standardised else unit_file(name)
        self._writer = ArrayWriter(folder / file, np.float32, (space.dimensions,), kept=kept)

    def add(self, entries: list[Entry]) -> None:
        """Append a row for each entry; without a vector it is zero, and never found."""
        block = np.zeros((len(entries), self._space.dimensions), np.float32)
        for row, entry in enumerate(entries):
            if (vector := entry.vectors.get(self._name)) is not None:
                block[row] = vector
        self._writer.append(block if self._space.is_standardised else unit(block))

    def close(self, alive: Mask, threads: int) -> tuple[SpaceForm, dict[str, Form]]:
        """Finish the files: standardise, make the graph where one is due, measure what it finds."""
        file = original_file(self._name) if self._space.is_standardised else unit_file(self._name)
        forms = {file: self._writer.close()}
        vectors, scaler = map_array(self._folder / file, forms[file]), None
        if self._space.is_standardised:
            scaler = Scaler.fit(vectors, alive & _present(vectors))
            forms[unit_file(self._name)] = self._standardise(vectors, scaler)
            vectors = map_array(self._folder / unit_file(self._name), forms[unit_file(self._name)])
        living = alive & _present(vectors)
        (self._folder / living_file(self._name)).unlink(missing_ok=True)  # that of the snapshot before
        if not living.all():
            forms[living_file(self._name)] = write_array(self._folder / living_file(self._name), living)
        chosen: Rows = np.flatnonzero(living)
        graph, found = self._graph(vectors, chosen, threads)
        forms |= self._coarse(vectors, chosen)
        form = SpaceForm(
            vectors=len(chosen), recall=found, graph=graph, scaler=None if scaler is None else scaler.to_json()
        )
        return form, forms

    def abandon(self) -> None:
        """Close the file as it is."""
        self._writer.close()

    def _standardise(self, vectors: Floats, scaler: Scaler) -> Form:
        path = self._folder / unit_file(self._name)
        writer = ArrayWriter(path, np.float32, (self._space.dimensions,))
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            writer.append(np.where(_present(block)[:, None], scaler.apply(block), np.float32(0)))
        return writer.close()

    def _graph(self, vectors: Floats, chosen: Rows, threads: int) -> tuple[GraphForm | None, float]:
        path = self._folder / graph_file(self._name)
        if len(chosen) <= SCANNED_ROWS_MAX and len(chosen) * self._space.dimensions <= SCANNED_NUMBERS_MAX:
            path.unlink(missing_ok=True)
            return None, 1.0
        before = self._before.graph if self._before is not None else None
        if before is not None and self._lives_on(before, chosen):
            form, found = _tuned(path, before, vectors, chosen)
            if found >= ENOUGH:
                return form, found
        path.unlink(missing_ok=True)
        form, found = _tuned(path, write_graph(path, vectors, chosen, threads=threads), vectors, chosen)
        if found >= ENOUGH:
            return form, found
        path.unlink()  # vectors that no graph can tell apart: slow and right is better
        return None, 1.0

    def _coarse(self, vectors: Floats, chosen: Rows) -> dict[str, Form]:
        """Write the copy that exact search reads first, unless something is missed with it."""
        if self._space.dimensions < WIDE:
            return {}
        goes_on = not self._space.is_standardised and self._coarse_files.are_in(self._folder)
        forms = self._coarse_files.write(self._folder, vectors, kept=self._kept if goes_on else 0)
        index = ExactIndex(vectors, self._coarse_files.read(self._folder, forms))
        some = chosen[:: len(chosen) // _COMPARED + 1]
        if not len(some) or Trial.among(vectors, some, _TRIED).recall(index) == 1:
            return forms
        self._coarse_files.remove(self._folder)
        return {}

    def _lives_on(self, graph: GraphForm, chosen: Rows) -> bool:
        if self._space.is_standardised:
            return False  # under another scaler every vector is another
        later = int(np.count_nonzero(chosen >= graph.rows))
        gone = graph.size - (len(chosen) - later)
        return later <= _LATER_MAX and gone <= graph.size * _GONE_SHARE


class SpaceReader:
    """One space of a finished snapshot, ready to be searched."""

    def __init__(self, folder: Path, name: str, space: Space, form: SpaceForm, forms: dict[str, Form]) -> None:
        """Map the files, whose hashes must have been checked."""
        self._scaler = None if form.scaler is None else Scaler.from_json(form.scaler)
        self.units: Floats = map_array(folder / unit_file(name), forms[unit_file(name)])
        file = original_file(name) if space.is_standardised else unit_file(name)
        self.originals: Floats = map_array(folder / file, forms[file])
        living = forms.get(living_file(name))
        self.living: Mask | None = None if living is None else map_array(folder / living_file(name), living)
        coarse = CoarseFiles.of(name).read(folder, forms)
        self._index: VectorIndex = (
            ExactIndex(self.units, coarse)
            if form.graph is None
            else GraphIndex(folder / graph_file(name), form.graph, self.units, coarse)
        )

    def search(self, vector: Floats, k: int, allowed: Mask | None) -> Nearest:
        """Return the k nearest rows to a vector of any length, as `VectorIndex` says, the scores rounded alike."""
        given = np.asarray(vector, np.float32)
        query = unit(given) if self._scaler is None else self._scaler.apply(given)
        if self.living is not None:
            allowed = self.living if allowed is None else allowed & self.living
        found = self._index.search(query, k, allowed)
        # Summed in float64 equal vectors get equal scores, wherever they stand.
        exact = self.units[found.rows].astype(np.float64) @ query.astype(np.float64)
        return Nearest(rows=found.rows, scores=exact.astype(np.float32))

    def as_query(self, direction: Floats) -> Floats:
        """Return the vector that `search` turns into this direction among the vectors that are compared."""
        return direction if self._scaler is None else self._scaler.undo(direction)


def _present(vectors: Floats) -> Mask:
    """Return which rows have a vector: the others are zero."""
    present = np.empty(len(vectors), np.bool_)
    for start in range(0, len(vectors), _BLOCK):
        present[start : start + _BLOCK] = vectors[start : start + _BLOCK].any(axis=1)
    return present


def _tuned(path: Path, form: GraphForm, vectors: Floats, chosen: Rows) -> tuple[GraphForm, float]:
    """Search as widely as it takes, and return the recall that this gives."""
    index = GraphIndex(path, form, vectors)
    trial = Trial.among(vectors, chosen)
    found = 0.0
    for expansion in EXPANSIONS_SEARCH:
        index.expansion = expansion
        form, found = replace(form, expansion=expansion), trial.recall(index)
        if found >= AIM:
            break
    return form, found
