"""The work of the job kind `cache_warming`: one entry after the other, until the part of the budget is used up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redis import Redis

from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.cache_warming import Action, Item, Request, Result
from shared.jobs.job import JobContext
from shared.model import Json
from shared.provider_state import read_state
from shared.providers import Provider, RedisLost, accounts, connect_redis
from shared.settings import Settings
from workers.providers.errors import NotNow, ProviderError
from workers.providers.playlists import Asker, Playlists
from workers.providers.services import Services, services
from workers.providers.track_names import keys_of


def warm(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each entry's outcome. What others have to be asked for is never waited for: the next turn comes."""
    known = services(context.settings, context.db)
    left = _shares(context.settings)
    fetched: set[str] = set()
    for item in items:
        provider = _provider(item.recipe)
        if item.key in fetched:  # with another entry, by the same call
            yield _done(item, Action.WARMED)
        elif item.fresh_seconds > request.ahead_seconds:
            yield _done(item, Action.FRESH)
        elif left[provider] < 1:
            yield _done(item, Action.LEFT)
        else:
            left[provider] -= 1
            try:
                fetched |= _fetch(item.recipe, known)
            except NotNow:
                left[provider] = 0
                yield _done(item, Action.LEFT)
            except ProviderError as error:
                yield failed(error.code, error.message)
            else:
                yield _done(item, Action.WARMED)


def _done(item: Item, action: Action) -> ItemOutcome:
    return succeeded(Result(key=item.key, action=action), cached=action is not Action.WARMED)


def _provider(recipe: Json) -> Provider:
    return Provider(recipe["provider"]) if recipe["what"] == "names" else Provider.SPOTIFY


def _shares(settings: Settings) -> dict[Provider, int]:
    """Return how many calls may be made to each provider: a part of what is left of its longest window."""
    redis = connect_redis(settings)
    if redis is None:
        return dict.fromkeys(Provider, 0)
    with redis:
        return {provider: _share(redis, provider, settings) for provider in accounts(settings)}


def _share(redis: Redis, provider: Provider, settings: Settings) -> int:
    account = accounts(settings)[provider]
    try:
        state = read_state(redis, account)
    except RedisLost:
        return 0
    if state.paused_seconds > 0:
        return 0
    longest = max(range(len(account.windows)), key=lambda place: account.windows[place].seconds)
    return int(state.remaining[longest] * settings.warm_share)


def _fetch(recipe: Json, known: Services) -> set[str]:
    """Fetch an entry anew in one call; return the keys of all that came with it. Raises `ProviderError`."""
    if recipe["what"] == "names":
        known.names().fetch(Provider(recipe["provider"]), recipe["ids"])
        return set(keys_of(recipe))
    playlists = Playlists(_asker(recipe["as"], known), known.endpoints, known.cache)
    playlists.page(recipe["playlist"], recipe["offset"], fresh=True)
    return set()


def _asker(identity: str, known: Services) -> Asker:
    owner, _, user_id = identity.partition("/")
    if user_id and known.spotify_users is not None:
        return known.spotify_users.of(owner, user_id)
    if known.spotify_app is None:
        raise ProviderError("There are no credentials any more of whoever asked for it.")
    return known.spotify_app
