"""What a model or an index that does not work means to a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from shared.clock import now
from shared.errors import ItemFailed, NotYet
from workers.models.runtime import ModelDamaged, ModelMissing
from workers.vectors.errors import (
    EmbedderMissing,
    EmbedderRefused,
    EmbedderUnavailable,
    EmbedderUnsound,
    EngineMissing,
    EngineRefused,
    EngineUnavailable,
    WrongEmbedder,
)

# What only the settings, or whoever runs the service, can mend.
_REFUSALS = (WrongEmbedder, EmbedderMissing, EmbedderRefused, EmbedderUnsound, EngineMissing, EngineRefused)


@contextmanager
def as_job_failures() -> Iterator[None]:
    """Turn what models and indexes raise into what a job makes of it.

    Raises:
        NotYet: if it may go well later.
        ItemFailed: if nothing changes by waiting; the code and the message say what to do.
    """
    try:
        yield
    except (ModelMissing, ModelDamaged) as error:
        raise ItemFailed("model_missing", str(error)) from None
    except (EmbedderUnavailable, EngineUnavailable) as error:
        raise NotYet(error.message, resumes_at=now() + timedelta(seconds=error.retry_after_seconds)) from None
    except _REFUSALS as error:
        raise ItemFailed(error.code, error.message) from None
