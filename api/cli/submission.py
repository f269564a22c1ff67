"""Many entries as jobs: as few as the API allows, and known by id from the moment they are stored."""

from __future__ import annotations

from collections.abc import Sequence

from api.cli.batches import Manner, split, to_request
from api.cli.client import Client, Json
from api.cli.inputs import Entry
from shared.jobs import audio_features


class Submission:
    """What one call of `backline extract` submits."""

    def __init__(self, entries: Sequence[Entry], manner: Manner) -> None:
        """Keep what to submit; nothing is sent yet."""
        self.job_ids: list[str] = []  # of the jobs that are stored
        self._entries = entries
        self._manner = manner

    def send(self, client: Client) -> list[Json]:
        """Submit the jobs and return them. When one is refused, those before it stay in `job_ids`."""
        jobs = []
        for part in split(self._entries):
            request = to_request(part, self._manner)
            jobs.append(client.submit(audio_features.KIND.name, request))
            self.job_ids.append(jobs[-1]["id"])
        return jobs
