"""The registry of job kinds: one line per kind."""

from __future__ import annotations

from importlib import import_module

from shared.errors import UnknownJobKind
from shared.jobs import audio_features
from shared.jobs.job import JobKind
from shared.settings import get_settings

BUILT_IN = (audio_features.KIND,)


def _from_settings() -> list[JobKind]:
    return [kind for module in get_settings().job_modules for kind in import_module(module).KINDS]


JOBS: dict[str, JobKind] = {kind.name: kind for kind in (*BUILT_IN, *_from_settings())}


def get_kind(name: str) -> JobKind:
    """Return the job kind of this name. Raises `UnknownJobKind`, which lists the known ones."""
    try:
        return JOBS[name]
    except KeyError:
        raise UnknownJobKind(f"There is no job kind {name!r}; known are: {', '.join(sorted(JOBS))}.") from None
