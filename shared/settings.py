"""The one typed reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from shared.errors import WrongSetting


def _default_data_dir() -> Path:
    """Where the embedded stack keeps its files: the XDG data folder of this user."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "backline"


UNPREFIXED = {
    "redis_url": "REDIS_URL",
    "mongodb_uri": "MONGODB_URI",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Settings whose names other programs know, too."""

SECRET_FILES = ("redis_url", "mongodb_uri", "search_token", "spotify_client_secret", "token_key")
"""Settings that may hold a secret: ``REDIS_URL_FILE`` and the like name a file that holds it, as orchestrators mount
them. (``BACKLINE_API_KEY_FILE`` is a setting of its own.)"""


def variable_of(name: str) -> str:
    """Return the environment variable of a setting, in the spelling that is documented."""
    return UNPREFIXED.get(name, f"BACKLINE_{name.upper()}")


class SecretFiles(PydanticBaseSettingsSource):
    """Reads settings from files that variables name; a variable that holds the value itself goes first."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return what the file of a setting holds, or None where no variable names one."""
        path = os.environ.get(f"{variable_of(field_name)}_FILE")
        if field_name not in SECRET_FILES or not path:
            return None, field_name, False
        try:
            return Path(path).expanduser().read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise WrongSetting(f"The setting {variable_of(field_name)}_FILE is wrong: {path}: {reason}.") from None

    def __call__(self) -> dict[str, Any]:
        """Return every setting that a file holds."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {UNPREFIXED.get(name, name): value for name, value in found.items() if value is not None}


class LogFormat(StrEnum):
    """How lines of the log look."""

    AUTO = "auto"  # readable on a terminal, JSON elsewhere
    JSON = "json"
    TEXT = "text"


LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """Every setting, read from the environment (prefix ``BACKLINE_``) and from ``.env``.

    ``REDIS_URL`` and ``MONGODB_URI`` are also read without the prefix. When both are unset, the
    launcher starts embedded servers and tells the processes that it starts where they are.
    """

    model_config = SettingsConfigDict(
        env_prefix="BACKLINE_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look at arguments first, then at variables, at the files that variables name, and at .env."""
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings

    # Servers
    redis_url: str | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "BACKLINE_REDIS_URL"))
    mongodb_uri: str | None = Field(default=None, validation_alias=AliasChoices("MONGODB_URI", "BACKLINE_MONGODB_URI"))
    mongodb_database: str = "backline"
    mongodb_timeout_seconds: float = Field(default=15.0, gt=0)
    """How long one MongoDB operation may take, server selection included (the API uses 4 s)."""

    # Places
    data_dir: Path = Field(default_factory=_default_data_dir)
    music_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders whose files may be read; ``BACKLINE_MUSIC_ROOTS=/music:/nas`` (``os.pathsep``)."""

    # Search
    index_dir: Path = Field(default_factory=lambda known: known["data_dir"] / "indexes")
    """Where the snapshots of indexes lie, an owner's in a folder of its own; builders and search servers share it."""
    search_url: str | None = None
    """The search server that the API asks, http://127.0.0.1:8766 say; without one there is no search."""
    search_token: SecretStr | None = None
    """What API and search server know each other by, any long random text; the same for both."""
    search_timeout_seconds: float = Field(default=10.0, gt=0)
    """A search that takes longer is given up, by the search server and by the API."""
    search_threads: int = Field(default=2, gt=0)
    """How many searches one search server works on at a time; as many cores serve best. An API process asks for eight
    times as many at a time."""
    search_waiting_max: int = Field(default=64, ge=0)
    """How many more may wait for their turn, in each API process and in each search server; what comes beyond is
    refused at once."""
    search_open_max: int = Field(default=64, gt=0)
    """How many indexes one search server keeps open; the one not searched for longest rests until it is wanted."""

    # Catalogues
    catalogue_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders, besides those of music, whose files may be imported as catalogues; separated by ``os.pathsep``."""
    catalogue_url: str = (
        "https://github.com/manami-project/anime-offline-database/releases/latest/download/"
        "anime-offline-database.jsonl.zst"
    )
    """Where the release is that `"release": true` imports; nobody's request can name another."""
    catalogue_download_seconds: float = Field(default=300.0, gt=0)
    """How long the download of a release may take."""
    catalogue_bytes_max: int = Field(default=2 * 1024**3, gt=0)
    """The largest source that is imported, as it comes; unpacked it may have eight times as many bytes."""

    # Vectors
    embedder: str = Field(default="minilm", pattern=r"^(minilm|(sentence-transformers|fastembed|openai):.+)$")
    """What turns texts into vectors: ``minilm``, ``sentence-transformers:NAME_OR_FOLDER``, ``fastembed:NAME`` or
    ``openai:MODEL``. Another one embeds every text anew. Its files are fetched by
    ``python -m workers.vectors.embedders NAME``, never by a request."""
    embedder_url: str | None = None
    """Where ``openai:MODEL`` is asked, without the /embeddings at the end: https://api.openai.com/v1, or any server
    that speaks the same."""
    embedder_key: SecretStr | None = None
    """The key that is sent there."""
    embedder_dimensions: int | None = Field(default=None, ge=1, le=8192)
    """The length of a vector, for models that can shorten theirs; unset, the model's own."""
    vector_url: str | None = Field(
        default=None, pattern="^https?://.+", validation_alias=AliasChoices("VECTOR_URL", "BACKLINE_VECTOR_URL")
    )
    """A Qdrant server that holds the indexes, http://qdrant:6333 say; unset, they are files in ``index_dir``."""
    vector_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("VECTOR_KEY", "BACKLINE_VECTOR_KEY")
    )
    """The key that the Qdrant server asks for."""

    # Providers of features
    feature_providers: Annotated[tuple[str, ...], NoDecode] = ("spotify", "reccobeats", "local")
    """Who is asked for the features of a track id, in this order; separated by commas."""
    spotify_client_id: str | None = None
    spotify_client_secret: SecretStr | None = None
    """The credentials of an app at Spotify; without them nothing is asked there."""
    token_key: SecretStr | None = None
    """What the tokens of connected users are encrypted with: 32 random characters or more, the same for API and
    workers. A stack on one machine keeps them in its data folder; who loses them has everybody connect anew."""
    spotify_url: str = "https://api.spotify.com/v1/"
    spotify_authorize_url: str = "https://accounts.spotify.com/authorize"
    spotify_token_url: str = "https://accounts.spotify.com/api/token"  # noqa: S105
    spotify_budget: str = "10 per second; 100 per minute"
    """How many calls all workers together may make under the account, in any second, any minute."""
    spotify_batch_size: int = Field(default=100, ge=1, le=100)
    spotify_may_train: bool = False
    """Whether you have the right to have Spotify's content in embeddings and indexes; its terms forbid that."""
    reccobeats_url: str = "https://api.reccobeats.com/v1/"
    reccobeats_budget: str = "10 per second; 100 per minute"
    reccobeats_upload: bool = False
    """Whether the first 30 s of your audio are sent to a third party: to ReccoBeats, where a track is a file of yours
    and nobody else knows all of its features."""
    provider_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long one call to a provider may be silent."""
    provider_connect_seconds: float = Field(default=3.0, gt=0)
    provider_attempts: int = Field(default=3, ge=1)
    """How often a call is made that ends in an error of the server's, a timeout or a broken connection."""
    provider_backoff_seconds: float = Field(default=1.0, ge=0)
    """The longest pause before the second attempt; it doubles with each, and a part of it by chance is waited."""
    provider_wait_days: float = Field(default=2.0, ge=0)
    """A provider whose budget comes back later than this is done without."""
    provider_processes: int = Field(default=16, gt=0)
    """Among so many processes a budget is divided while Redis, which counts for all, is away."""
    breaker_failures: int = Field(default=5, gt=0)
    """After so many failures in a row an endpoint is left alone."""
    breaker_seconds: float = Field(default=60.0, gt=0)
    """For so long; then one call tries whether it is well again."""
    endpoint_memory_hours: float = Field(default=24.0, gt=0)
    """For how long it is remembered which endpoints this app may not use."""
    answer_days: float = Field(default=30.0, gt=0)
    """For how long a provider's answer about a track is used in place of asking again."""
    unknown_days: float = Field(default=7.0, gt=0)
    """For how long it is believed that a provider does not know a track."""
    warm_share: float = Field(default=0.25, gt=0, le=1)
    """The part of what is left of a provider's budget that a job `cache_warming` may use."""

    # Front door
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8765, ge=0, le=65535)
    url: str | None = None
    """A running Backline that the command line should talk to, such as http://127.0.0.1:8765."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names, besides those of this machine's loopback, under which the API may be called, separated by commas;
    ``*`` allows every name. A page on the web that makes its own name point here is refused so."""

    # Who may come in
    api_key: SecretStr | None = None
    """The key that the command line sends; a stack on this machine's data folder needs none, its key lies there."""
    api_key_file: Path | None = None
    """A file whose content is a key with every scope, for a first key or a mounted secret; made where it is missing."""
    api_key_is_local: bool = False
    """Whether that key was made for this machine alone, and so is no reason to listen to others: a stack of one machine
    says so of its own."""
    oidc_issuer: str | None = None
    """The OpenID Connect issuer whose access tokens are accepted, exactly as their `iss` spells it."""
    oidc_audience: str | None = None
    """What a token's `aud` must name; the address of the MCP door where clients ask for it by that (RFC 8707)."""
    oidc_algorithms: Annotated[tuple[str, ...], NoDecode] = ("RS256", "ES256")
    """How tokens may be signed, separated by commas; asymmetric algorithms only."""
    oidc_scope_claim: str = "scope"
    oidc_owner_claim: str | None = None
    """The claim that names the owner, one that users can't edit themselves; unset, each subject is an owner."""
    oidc_leeway_seconds: float = Field(default=30.0, ge=0)
    """How far the issuer's clock may be from ours."""

    rate_requests: str = "30000 per minute"
    """How many requests one key may send to all front doors together; written as ``N per M minutes``."""
    rate_submits: str = "12000 per minute"
    """How many jobs one key may submit of each kind that works with our own means."""
    rate_provider_submits: str = "100 per 15 minutes"
    """How many jobs one key may submit of each kind that asks others' services, whose budgets everybody shares."""
    quota_open_jobs: int = Field(default=10_000, gt=0)
    """How many jobs of one owner may be unfinished at a time."""
    quota_items_per_day: int | None = Field(default=None, gt=0)
    """How many items the jobs of one owner may have on a day (UTC); what is beyond waits for the next."""
    audit_days: float = Field(default=90.0, gt=0)
    """The audit log is kept for so long."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Pages of other origins that may call from a browser, separated by commas: ``https://echotune.example``."""
    public_url: str | None = None
    """The address under which clients reach the API where a proxy stands before it, https://backline.example say."""

    # Engine
    job_modules: Annotated[tuple[str, ...], NoDecode] = ()
    """Modules whose ``KINDS`` join the job kinds, separated by commas: kinds of your own, with no fork."""
    lease_seconds: float = Field(default=30.0, gt=0)
    """How long a silent worker keeps its chunk; the heartbeat renews it at a third."""
    chunk_seconds: float = Field(default=10.0, gt=0)
    """The length of work that a chunk is sized for."""
    window_seconds: float = Field(default=60.0, gt=0)
    """How much work a job keeps laid out in front of each worker slot."""
    item_seconds_max: float = Field(default=900.0, gt=0)
    """An item that takes longer is stopped, with its process, and not tried again."""
    max_items_per_job: int = Field(default=5_000_000, gt=0)
    reap_seconds: float = Field(default=3.0, gt=0)
    tick_seconds: float = Field(default=5.0, gt=0)
    job_ttl_days: float = Field(default=30.0, gt=0)
    """Finished jobs and their item outcomes are deleted after this long; merged results stay."""
    analytics_inline_documents: int = Field(default=50_000, ge=0)
    """An analysis that reads more documents than these is a job; the others are answered at once."""
    artifact_days: float = Field(default=7.0, gt=0)
    """Exported files can be downloaded for so long."""
    worker_memory_mb: int = Field(default=1024, gt=0)
    """A worker process above this size is replaced after its current chunk; an item that takes it to four times that
    fails as `out_of_memory`."""

    # Log
    log_format: LogFormat = LogFormat.AUTO
    """``json``, ``text``, or ``auto``: readable on a terminal, one JSON object a line elsewhere."""
    log_level: LogLevel = "info"
    """From which level on Backline's own lines are shown; what libraries say is shown from ``warning`` on."""
    log_levels: Annotated[Mapping[str, LogLevel], NoDecode] = {}
    """Other levels for parts of it, by module: ``api=debug,workers.engine=warning,pymongo=info``."""

    # Numbers for Prometheus
    metrics_dir: Path | None = None
    """Where the workers of one machine count what they do, for the `/metrics` of the API on the same machine."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Where a worker or an API that is started by itself serves its numbers; unset, it has no port for them."""
    metrics_host: str = "127.0.0.1"
    """The address of that port; whoever reaches it may read the numbers, without a key."""

    # Traces
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Where traces go: a collector that takes OTLP over HTTP, http://collector:4318 say. Unset, nothing is traced. It
    needs the extra ``tracing``; OpenTelemetry's other variables (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``,
    ``OTEL_EXPORTER_OTLP_HEADERS`` and so on) hold as well, in the environment."""

    @field_validator("music_roots", "catalogue_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(Path(part).expanduser() for part in value.split(os.pathsep) if part)
        return value

    @field_validator(
        "job_modules", "allowed_hosts", "oidc_algorithms", "cors_origins", "feature_providers", mode="before"
    )
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_levels", mode="before")
    @classmethod
    def _split_levels(cls, value: Any) -> Any:
        if isinstance(value, str):
            pairs = (part.partition("=") for part in value.split(",") if part.strip())
            return {name.strip(): level.strip() for name, _, level in pairs}
        return value

    @property
    def lease(self) -> timedelta:
        """How long a claim on a chunk holds without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def reap_interval(self) -> timedelta:
        """The time between two reaps."""
        return timedelta(seconds=self.reap_seconds)

    @property
    def audit_ttl(self) -> timedelta:
        """How long an entry of the audit log is kept."""
        return timedelta(days=self.audit_days)

    @property
    def artifact_ttl(self) -> timedelta:
        """How long an exported file is kept."""
        return timedelta(days=self.artifact_days)

    @property
    def job_ttl(self) -> timedelta:
        """How long a finished job is kept."""
        return timedelta(days=self.job_ttl_days)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's settings, read once. Raises `WrongSetting`."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        name = name if name.isupper() else f"BACKLINE_{name.upper()}"
        reason = first["msg"].removeprefix("Value error, ")
        raise WrongSetting(f"The setting {name} is wrong: {reason}.") from None


def settings_with_servers() -> Settings:
    """Return the settings of a process that is nothing without its servers. Raises `WrongSetting`."""
    settings = get_settings()
    servers = {"REDIS_URL": settings.redis_url, "MONGODB_URI": settings.mongodb_uri}
    missing = [name for name, address in servers.items() if address is None]
    if missing:
        raise WrongSetting(f"{' and '.join(missing)} must be set for a part that is started by itself.")
    return settings
