"""What opens the front door, read from the settings at the start; and whether it may be opened to others at all."""

from __future__ import annotations

from dataclasses import dataclass

from api.access.limits import Budgets
from api.access.tokens import TokenVerifier
from api.gate import is_loopback
from shared.errors import WrongSetting
from shared.keys import KeyText, ensure_key_file
from shared.settings import Settings
from shared.store import keys
from shared.store.database import StoreError, connect

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """The keys, tokens and budgets that the settings speak of."""

    file_key: KeyText | None  # what the key file holds
    tokens: TokenVerifier | None  # where an issuer is configured
    budgets: Budgets

    @classmethod
    def of(cls, settings: Settings) -> Entrance:
        """Read what there is; the key file is made where it is missing. Raises `WrongSetting`."""
        refuse_open_door(settings)
        path = settings.api_key_file
        return cls(
            file_key=None if path is None else ensure_key_file(path.expanduser()),
            tokens=None if settings.oidc_issuer is None else TokenVerifier(settings),
            budgets=Budgets.of(settings),
        )


def refuse_open_door(settings: Settings) -> None:
    """Refuse to listen where others reach us before somebody has decided who may come in. Raises `WrongSetting`.

    A key file is such a decision, but that of a one-machine stack, which opens everything and was made for it alone.
    """
    has_issuer, has_file = settings.oidc_issuer is not None, settings.api_key_file is not None
    if is_loopback(settings.api_host) or has_issuer or (has_file and not settings.api_key_is_local):
        return
    if not _has_keys(settings):
        first = "" if settings.api_key_is_local else ", no key file (BACKLINE_API_KEY_FILE)"
        raise WrongSetting(
            f"The API will not listen on {settings.api_host}, where others reach it, as long as there is no key"
            f" (`backline keys create`){first} and no issuer (BACKLINE_OIDC_ISSUER)."
        )


def _has_keys(settings: Settings) -> bool:
    db = connect(settings, timeout_seconds=PATIENCE_SECONDS)
    with db.client:
        try:
            return keys.has_valid(db)
        except StoreError as error:
            raise WrongSetting(f"Whether there is any key can't be known: {type(error).__name__}.") from error
