"""Everything that can go wrong, as one tree; each class says what happened and what to do.

The tree knows no HTTP: the front door maps classes to status codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

WORDS_MAX = 300  # characters of an exception that a message quotes


class BacklineError(Exception):
    """Something went wrong; `code` is stable for programs, `message` and `advice` are for people."""

    code: ClassVar[str] = "backline_error"
    advice: ClassVar[str] = "Look at the log of the process that answered."

    def __init__(self, message: str) -> None:
        """Keep the sentence that says what happened to which thing."""
        super().__init__(message)
        self.message = message


def in_words(error: BaseException) -> str:
    """Return what an exception says of itself, in a line of bounded length: its own words, behind its type's name."""
    text = " ".join(str(error).split())
    words = text if isinstance(error, BacklineError) else f"{type(error).__name__}: {text}".removesuffix(": ")
    return words if len(words) <= WORDS_MAX else f"{words[:WORDS_MAX]} …"


class WrongSetting(BacklineError):
    """The process can't start with the settings that it finds."""

    code = "wrong_setting"
    advice = "Correct it in the environment or in .env, and start again."


class WorkNotFound(BacklineError):
    """A job kind names a function for its work that is not there."""

    code = "work_not_found"
    advice = "Write the kind's `work` as 'package.module:function', in a module that the workers can import."


class InvalidRequest(BacklineError):
    """The request does not have the form that this job kind asks for."""

    code = "invalid_request"
    advice = "Correct the fields that are named and send it again."

    def __init__(self, message: str, *, fields: Sequence[tuple[str, str]] = ()) -> None:
        """Keep the name of each field that is wrong, and what is wrong with it."""
        super().__init__(message)
        self.fields = tuple(fields)


class NotAuthenticated(BacklineError):
    """Nobody knows who asks: no key or token came with the request, or one that is not valid (any more)."""

    code = "not_authenticated"
    advice = "Send a key as 'Authorization: Bearer KEY'; `backline keys create` makes one."


class NoCredentials(NotAuthenticated):
    """Neither a key nor a token came with the request."""


class NotAllowed(BacklineError):
    """The key or token does not let its holder do this."""

    code = "not_allowed"
    advice = "Use a key that has the scope that is named; `backline keys create --scope` makes one."

    def __init__(self, message: str, *, scope: str) -> None:
        """Keep the scope that is missing."""
        super().__init__(message)
        self.scope = scope


class NoIssuer(BacklineError):
    """Nobody issues tokens for this installation, so there is nothing to say about where they are to be had."""

    code = "no_issuer"
    advice = "Use a key; or set BACKLINE_OIDC_ISSUER and BACKLINE_OIDC_AUDIENCE."


class RateLimited(BacklineError):
    """More requests came under one key than it may send in this time."""

    code = "rate_limited"
    advice = "Wait for as long as Retry-After says, then go on."

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        """Keep how long to wait."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class QuotaExceeded(RateLimited):
    """The owner has as much as is allowed at a time."""

    code = "quota_exceeded"
    advice = "Let jobs end, or cancel some; the operator may raise the quota."


class KeyNotFound(BacklineError):
    """No key has this id."""

    code = "key_not_found"
    advice = "List the keys to see which exist: `backline keys list`."


class UnknownJobKind(BacklineError):
    """No job kind has this name."""

    code = "unknown_job_kind"
    advice = "Use one of the known kinds."


class JobNotFound(BacklineError):
    """No job has this id, or it was deleted when its time was up."""

    code = "job_not_found"
    advice = "List the jobs to see which exist; finished jobs are deleted after some time."


class JobFinished(BacklineError):
    """The job has already ended, so it can't be cancelled."""

    code = "job_finished"
    advice = "Nothing is left to cancel; read its result, or retry what failed."


class JobNotFinished(BacklineError):
    """The job is still at work, so it can't be retried."""

    code = "job_not_finished"
    advice = "Wait until it ends, or cancel it first."


class NothingToRetry(BacklineError):
    """Every item of the job succeeded, so there is nothing to try again."""

    code = "nothing_to_retry"
    advice = "Submit a new job to do the work anew."


class IdempotencyConflict(BacklineError):
    """The idempotency key was used before with a different request."""

    code = "idempotency_conflict"
    advice = "Use a fresh key for a different request."


class InvalidCursor(BacklineError):
    """The cursor was not made by this service for this list."""

    code = "invalid_cursor"
    advice = "Start again without a cursor."


class ScheduleNotFound(BacklineError):
    """No schedule has this name."""

    code = "schedule_not_found"
    advice = "List the schedules to see which exist."


class ScheduleExists(BacklineError):
    """A schedule of this name exists already."""

    code = "schedule_exists"
    advice = "Choose another name, or change that one: `backline schedules edit NAME`, or PATCH over HTTP."


class InvalidSchedule(BacklineError):
    """The schedule's cron expression or interval can't be understood."""

    code = "invalid_schedule"
    advice = "Give a cron expression of five fields, such as '0 2 * * sun', or an interval in seconds."


class UnknownTimezone(InvalidSchedule):
    """No time zone has this name."""

    advice = "Give the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'."


class IndexMissing(BacklineError):
    """The owner has no such index yet, so there is nothing to search."""

    code = "index_missing"
    advice = "Fill the catalogue (catalogue_import) or analyse music (audio_features), then submit a job vector_index."


class UnknownIndex(BacklineError):
    """No index has this name."""

    code = "unknown_index"
    advice = "There are two: catalogue and tracks."


class NothingToRollBack(BacklineError):
    """The index has no snapshot before the current one."""

    code = "nothing_to_roll_back"
    advice = "Build it anew from nothing: a job of the kind vector_index with `rebuild`."


class ReportNotFound(BacklineError):
    """The job has no report of a validation: it is another kind, is still at work, or the report was deleted."""

    code = "report_not_found"
    advice = "Read the job; a report is there when a job of the kind database_validate has ended."


class EntryNotFound(BacklineError):
    """The index has no entry of this id, or nothing by which others could be near to it."""

    code = "entry_not_found"
    advice = "Search for it by its title; what was added lately is found after the next job vector_index."


class EmbedderMismatch(BacklineError):
    """The index was built with another text model than the search server has."""

    code = "embedder_mismatch"
    advice = "Search with mode lexical meanwhile; a job vector_index with `rebuild` embeds everything anew."


class PlanFailed(BacklineError):
    """The job's work could not be laid out, so none of it was done."""

    code = "plan_failed"
    advice = "Correct the request and submit it again."


class NoItems(PlanFailed):
    """The request leads to nothing to work on."""

    code = "no_items"
    advice = "Check the paths or ids in the request."


class TooManyItems(PlanFailed):
    """The request leads to more items than one job may have."""

    code = "too_many_items"
    advice = "Split the request into several jobs, or raise BACKLINE_MAX_ITEMS_PER_JOB."


class ArtifactNotFound(BacklineError):
    """No artifact has this id, or its time is up."""

    code = "artifact_not_found"
    advice = "Read the job that made it: its summary names the files and when they expire. Run it again if they have."


class NotOffered(BacklineError):
    """The request names a choice that does not exist; the message lists those that do."""

    code = "not_offered"
    advice = "Use one of the choices that are named."


class DatabaseTooNew(BacklineError):
    """The database was migrated by a later version of Backline, whose documents this one might spoil."""

    code = "database_too_new"
    advice = "Run the version of Backline that the database is of, or a later one."


class RestoreUnfinished(BacklineError):
    """The database is being restored, or that was broken off: it does not hold everything yet."""

    code = "restore_unfinished"
    advice = "Let `backline restore` come to its end; broken off, it goes on when it is called again."


class MigrationLocked(BacklineError):
    """Somebody else is migrating the database."""

    code = "migration_locked"
    advice = "Wait until they are done, and run it again: it then does what is left."


class UnknownMigration(BacklineError):
    """There is no way to the migration that is asked for."""

    code = "unknown_migration"
    advice = "Leave --to out, or name a migration that this version has and the database has not."


class SourceUnreadable(PlanFailed):
    """The file that should be imported can't be read as what it is said to be."""

    code = "source_unreadable"
    advice = "Check the file, its format, and that it lies below the allowed roots; then submit it again."


class SourceRefused(PlanFailed):
    """The source of an import lies where nothing may be read, or is not there."""

    code = "outside_roots"
    advice = "Name a file below BACKLINE_CATALOGUE_ROOTS or BACKLINE_MUSIC_ROOTS, as the workers see it."


class SourceMissing(SourceRefused):
    """There is no such file, or it can't be read."""

    code = "missing"


class SourceDamaged(PlanFailed):
    """The source is cut off, broken, or in no format that is known; nothing of it was imported."""

    code = "source_damaged"
    advice = "Get the file again, or save it as JSON, JSON Lines or CSV in UTF-8."


class SourceTooLarge(PlanFailed):
    """The source is larger than is allowed."""

    code = "source_too_large"
    advice = "Split it, or raise BACKLINE_CATALOGUE_BYTES_MAX."


class SourceUnavailable(PlanFailed):
    """The release could not be downloaded."""

    code = "source_unavailable"
    advice = "Retry the job later; BACKLINE_CATALOGUE_URL says where the release is looked for."


class SourceChanged(PlanFailed):
    """The source is not the one any more that the job began with."""

    code = "source_changed"
    advice = "Submit a new job: it imports the source as it is now."


class PlaylistUnreadable(PlanFailed):
    """The playlist can't be read: there is none, it is private, or its provider does not answer."""

    code = "playlist_unreadable"
    advice = "Check its id; for a private one connect its owner's account: `backline spotify connect`."


class Reconnect(PlanFailed):
    """The user's account is not connected (any more): its provider refuses the tokens, or we can't read them."""

    code = "reconnect"
    advice = "Connect the user's account anew: `backline spotify connect`."


class ProviderNotSetUp(BacklineError):
    """The installation has no credentials for the provider, or no key to keep users' tokens under."""

    code = "provider_not_set_up"
    advice = "Set BACKLINE_SPOTIFY_CLIENT_ID and, where parts are started by themselves, BACKLINE_TOKEN_KEY."


class AuthorizationNotFound(BacklineError):
    """No authorisation was begun under this state, or it was ended already, or its ten minutes are over."""

    code = "authorization_not_found"
    advice = "Begin anew: POST /api/spotify/authorizations."


class AuthorizationRefused(BacklineError):
    """The user said no, or the provider does not accept what came back from it."""

    code = "authorization_refused"
    advice = "Begin anew: POST /api/spotify/authorizations."


class ItemFailed(BacklineError):
    """One item can't be worked on; the rest of the job goes on."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the stable code of this item's failure beside the sentence."""
        super().__init__(message)
        self.item_code = code


class NotYet(BacklineError):
    """What the work needs is not to be had now: it goes on by itself at `resumes_at`, holding no worker till then."""

    code = "not_yet"
    advice = "Nothing to do: the job resumes by itself."

    def __init__(self, message: str, *, resumes_at: datetime) -> None:
        """Keep the time from which it is worth trying again."""
        super().__init__(message)
        self.resumes_at = resumes_at


class QuotaSpent(NotYet):
    """An outside budget is spent; its job shows that it waits for it."""

    code = "quota_spent"


class InputNeeded(NotYet):
    """A job can't go on before somebody has answered a question; it waits, holding no worker."""

    code = "input_needed"
    advice = "Answer it: POST /api/jobs/ID/approve, or the tool answer_job."

    def __init__(self, message: str, *, key: str, schema: Mapping[str, Any], resumes_at: datetime) -> None:
        """Keep the question's key, and the JSON Schema of its answer; it is looked for again at `resumes_at`."""
        super().__init__(message, resumes_at=resumes_at)
        self.key = key
        self.schema = dict(schema)


class NothingAsked(BacklineError):
    """The job waits for no such answer: it has not asked yet, or it was answered already."""

    code = "nothing_asked"
    advice = "Look at the job; only one whose status is waiting_input can be answered."


class WrongPlan(BacklineError):
    """The approval is for another plan than the one that the job has laid out."""

    code = "wrong_plan"
    advice = "Read the plan, and approve it with the planHash that it has now."


class RepairNotFound(BacklineError):
    """No repair has this id."""

    code = "repair_not_found"
    advice = "List the jobs of the kind database_repair."


class ServiceUnavailable(BacklineError):
    """A server that Backline stands on does not answer."""

    code = "service_unavailable"
    advice = "Try again in a few seconds; `backline status` shows which part is down."


class SearchUnavailable(ServiceUnavailable):
    """No search server answers, or none is configured."""

    code = "search_unavailable"
    advice = (
        "Everything else works. `backline up` starts one; elsewhere start `python -m workers.search` and let"
        " BACKLINE_SEARCH_URL name it."
    )


class SearchWarming(ServiceUnavailable):
    """The search server is still loading its model and its indexes."""

    code = "search_warming"
    advice = "Try again in a few seconds."


class SearchOverloaded(ServiceUnavailable):
    """More searches wait than one search server takes."""

    code = "search_overloaded"
    advice = "Try again in a few seconds; the operator may start more search servers."


class SearchTimedOut(ServiceUnavailable):
    """The search took too long and was given up."""

    code = "search_timed_out"
    advice = "Try again, with fewer words or a filter; the operator may raise BACKLINE_SEARCH_TIMEOUT_SECONDS."


class ClientGone(BacklineError):
    """Whoever asked closed the connection before the answer was there; nobody reads this."""

    code = "client_gone"
    advice = "Wait longer for the answer."


class IndexDamaged(ServiceUnavailable):
    """No snapshot of the index can be opened."""

    code = "index_damaged"
    advice = "Build it anew: a job vector_index with `rebuild`."
