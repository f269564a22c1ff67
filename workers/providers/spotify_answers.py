"""What Spotify answers through spotipy, in our own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import requests
from spotipy.exceptions import SpotifyException, SpotifyOauthError

from workers.providers.errors import (
    BadCredentials,
    EndpointClosed,
    Malformed,
    ProviderError,
    Refused,
    Revoked,
    Throttled,
    Transient,
)
from workers.providers.service import PAUSE_SECONDS, QUOTA_PAUSE_SECONDS, retry_after_seconds

QUOTA = "QUOTA_EXCEEDED"
CLOSED = frozenset((403, 404, 405, 410))
"""What an endpoint answers that this app may not use (any more)."""
MISSING_SCOPE = "scope"
"""Stands in a 403 about something that the user has not been asked for."""
Found = TypeVar("Found")


class TokenExpired(ProviderError):
    """The access token is not accepted; a fresh one may be."""

    code = "provider_token"


def answered(ask: Callable[[], Found]) -> Found:
    """Return an answer, or raise what went wrong in our words."""
    try:
        return ask()
    except SpotifyException as error:
        raise _in_our_words(error) from None
    except SpotifyOauthError as error:
        raise _of_login(error) from None
    except requests.exceptions.JSONDecodeError:
        raise Malformed("Spotify's answer is no JSON.") from None
    except requests.exceptions.RequestException as error:  # a timeout, a broken connection, half an answer
        raise Transient(f"Spotify can't be reached: {type(error).__name__}.") from None
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        # spotipy takes every body for what it should be, also that of an error.
        answer = _answer_behind(error)
        if answer is not None:
            raise _of_answer(answer) from None
        raise Malformed("Spotify's answer is not what its documentation says.") from None


def _of_login(error: SpotifyOauthError) -> ProviderError:
    """Return why there are no tokens."""
    answer = _answer_behind(error)
    if answer is not None and answer.status_code == requests.codes.too_many_requests:
        return _of_answer(answer)
    if error.error == "invalid_grant":
        return Revoked("Spotify does not accept the user's tokens any more.", status=400)
    if error.error in ("invalid_client", "unauthorized_client"):
        return BadCredentials("Spotify does not accept the app's credentials.", status=400)
    return Transient("Spotify gives no access token.")


def _answer_behind(error: BaseException) -> requests.Response | None:
    """Return the answer that spotipy was about to put into words."""
    former = error.__context__
    return former.response if isinstance(former, requests.exceptions.HTTPError) else None


def _of_answer(answer: requests.Response) -> ProviderError:
    """Return what an answer means whose body is none of an error's; its status and headers are what counts."""
    return _in_our_words(SpotifyException(answer.status_code, -1, answer.text, headers=answer.headers))


def _in_our_words(error: SpotifyException) -> ProviderError:
    status = error.http_status
    wait = (error.headers or {}).get("Retry-After")
    if QUOTA in f"{error.reason} {error.msg}":
        seconds = retry_after_seconds(wait, QUOTA_PAUSE_SECONDS)
        return Throttled("The quota at Spotify is spent.", seconds=seconds, is_quota=True)
    if status == requests.codes.too_many_requests:
        seconds = retry_after_seconds(wait, PAUSE_SECONDS)
        return Throttled(f"Spotify wants {seconds:.0f} s of rest.", seconds=seconds)
    if status == requests.codes.unauthorized:
        return TokenExpired("Spotify does not accept the access token.")
    if status == requests.codes.forbidden and MISSING_SCOPE in str(error.msg).lower().rpartition(":")[2]:
        return Revoked("The user has not been asked for the right to this.", status=status)
    if status in CLOSED:
        return EndpointClosed(f"This app may not use it at Spotify ({status}).", status=status)
    if status >= 500:
        return Transient(f"Spotify answers {status}.")
    return Refused(f"Spotify answers {status}.", status=status)
