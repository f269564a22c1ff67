"""The registry of job kinds: one line per kind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module

from shared.errors import UnknownJobKind, WrongSetting, in_words
from shared.jobs import (
    analytics,
    audio_features,
    cache_warming,
    catalogue_import,
    clusters,
    data_export,
    data_import,
    database_repair,
    database_validate,
    history_sync,
    playlist_analysis,
    recommendations,
    track_features,
    vector_index,
)
from shared.jobs.job import JobKind
from shared.settings import get_settings

BUILT_IN = (
    audio_features.KIND,
    catalogue_import.KIND,
    vector_index.KIND,
    recommendations.KIND,
    clusters.KIND,
    track_features.KIND,
    playlist_analysis.KIND,
    history_sync.KIND,
    cache_warming.KIND,
    data_export.KIND,
    data_import.KIND,
    analytics.KIND,
    database_validate.KIND,
    database_repair.KIND,
)


@lru_cache(maxsize=1)
def known_kinds() -> dict[str, JobKind]:
    """Return every job kind by its name, those of BACKLINE_JOB_MODULES included. Raises `WrongSetting`."""
    own = (kind for module in get_settings().job_modules for kind in _kinds_of(module))
    return {kind.name: kind for kind in (*BUILT_IN, *own)}


def _kinds_of(module: str) -> Sequence[JobKind]:
    try:
        kinds: Sequence[JobKind] = tuple(import_module(module).KINDS)
    except Exception as error:  # somebody else's module may raise anything
        raise WrongSetting(f"BACKLINE_JOB_MODULES names {module!r}, which has no KINDS: {in_words(error)}.") from error
    if not all(isinstance(kind, JobKind) for kind in kinds):
        raise WrongSetting(f"BACKLINE_JOB_MODULES names {module!r}, whose KINDS holds something that is no JobKind.")
    return kinds


def get_kind(name: str) -> JobKind:
    """Return the job kind of this name. Raises `UnknownJobKind`, which lists the known ones."""
    kinds = known_kinds()
    try:
        return kinds[name]
    except KeyError:
        raise UnknownJobKind(f"There is no job kind {name!r}; known are: {', '.join(sorted(kinds))}.") from None
