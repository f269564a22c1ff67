"""What can become of a call to a provider."""

from __future__ import annotations

from shared.errors import BacklineError


class ProviderError(BacklineError):
    """A provider could not be asked, or did not answer in a way that helps."""

    code = "provider_error"
    advice = "`backline status` shows which providers answer."


class ProviderDown(ProviderError):
    """The endpoint failed so often that it is left alone for a while."""

    code = "provider_down"


class Transient(ProviderError):
    """The server failed, kept silent or broke the connection: another attempt may do better."""

    code = "provider_failed"


class Malformed(ProviderError):
    """The answer can't be understood."""

    code = "provider_malformed"


class Refused(ProviderError):
    """The provider understood, and will not do it."""

    code = "provider_refused"

    def __init__(self, message: str, *, status: int) -> None:
        """Keep the status of HTTP."""
        super().__init__(message)
        self.status = status


class EndpointClosed(Refused):
    """This app may not use the endpoint; that is remembered."""

    code = "endpoint_closed"


class BadCredentials(Refused):
    """The provider does not accept our credentials (any more)."""

    code = "provider_credentials"
    advice = "Check BACKLINE_SPOTIFY_CLIENT_ID and BACKLINE_SPOTIFY_CLIENT_SECRET."


class Revoked(Refused):
    """A user's tokens are good no longer: they have to connect their account anew."""

    code = "reconnect"
    advice = "Connect the user's account anew: `backline spotify connect`."


class NotNow(ProviderError):
    """Nobody may call the provider now; later it is worth trying again."""

    def __init__(self, message: str, *, seconds: float, is_quota: bool = False) -> None:
        """Keep after how long, and whether a quota of the provider's is spent rather than a rate."""
        super().__init__(message)
        self.seconds = seconds
        self.is_quota = is_quota


class Throttled(NotNow):
    """The provider has answered that it wants to be left alone for a while."""

    code = "provider_throttled"


class BudgetSpent(NotNow):
    """Nothing was sent: the budget is used up, the provider asked for a pause, or somebody else is at it."""

    code = "provider_budget"


DOWN = (ProviderDown, Transient, Malformed)
"""There is no answer, and nobody says when there will be one."""
UNAVAILABLE = (NotNow, *DOWN)
"""What an older answer helps over; who is refused is not to be served behind the provider's back."""
