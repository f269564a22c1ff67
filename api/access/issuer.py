"""An OpenID Connect issuer, as whoever checks its tokens sees it: an address, and keys that are kept fresh."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Collection
from ipaddress import ip_address
from math import inf
from time import monotonic

import httpx

from api.access.jwks import KeySet, key_set
from shared.errors import ServiceUnavailable, in_words
from shared.model import Json

logger = logging.getLogger(__name__)

DISCOVERY_PATH = "/.well-known/openid-configuration"
FRESH_SECONDS = 600.0  # how soon a key that the issuer withdraws is believed no more
STALE_SECONDS_MAX = 86_400.0
"""How long keys serve while the issuer is down: any outage, but who cuts us off can't keep a withdrawn key alive."""
LOOK_INTERVAL_SECONDS = 10.0
"""The least time from one look to the next: junk that names a new key each time must not become the issuer's load."""
LOOK_SECONDS_MAX = 5.0  # for both documents together, however slowly they drip in
DOCUMENT_BYTES_MAX = 256 * 1024
ADDRESS_PATTERN = r"[!-~]{1,2000}"
PORT_MAX = 65_535


def checked_address(address: str) -> httpx.URL:
    """Return an address that keys may come from, as the client that fetches them reads it.

    Raises `ValueError` for any but https, where another could put in keys of their own; on loopback there is no other.
    """
    if not re.fullmatch(ADDRESS_PATTERN, address):
        raise ValueError("it is no address")
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ValueError(f"it is no address: {error}") from None
    if not url.host or url.userinfo or not 0 < (url.port or PORT_MAX) <= PORT_MAX:
        raise ValueError("it is no address of a server")
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.host)):
        raise ValueError("it must begin with https://")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Issuer:
    """The keys of one issuer: whoever needs them at the same time shares one look, and an outage spares those known."""

    def __init__(self, address: str, algorithms: Collection[str], *, clock: Callable[[], float] = monotonic) -> None:
        """Connect to nobody yet. Raises `ValueError` for an address that keys must not come from."""
        self.address = address
        self._algorithms = algorithms
        self._clock = clock
        self._scheme = checked_address(address).scheme
        # A proxy of the environment is for what lies beyond this machine.
        self._http = httpx.AsyncClient(follow_redirects=False, trust_env=self._scheme == "https")
        self._keys: KeySet | None = None
        self._seen_at = -inf  # when the issuer last published these keys
        self._looked_at = -inf
        self._is_failing = False
        self._looking: asyncio.Task[None] | None = None

    async def keys(self) -> KeySet:
        """Return its keys: at most ten minutes old, or, while it does not answer, those that were seen last.

        Raises `ServiceUnavailable` where they were never seen, or not for a day.
        """
        if self._age() > FRESH_SECONDS:
            look = self._look()
            # Once it is known to be down, only those wait for it who can't go on without it.
            if look is not None and not (self._is_failing and self._age() <= STALE_SECONDS_MAX):
                await asyncio.wait({look})
        if self._keys is None or self._age() > STALE_SECONDS_MAX:
            raise self._unavailable()
        return self._keys

    async def newer_keys(self) -> KeySet:
        """Return its keys as another look shows them, or the same again where the last was only just taken.

        Raises `ServiceUnavailable` where it does not answer: it may have other keys by now.
        """
        look = self._look()
        if look is not None:
            await asyncio.wait({look})
        if self._is_failing:
            raise self._unavailable()
        return await self.keys()

    async def close(self) -> None:
        """Give up a look that is under way, and the connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._http.aclose()

    def _age(self) -> float:
        return self._clock() - self._seen_at

    def _unavailable(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"The issuer {self.address} does not give its keys, so this token can't be checked.")

    def _look(self) -> asyncio.Task[None] | None:
        """Return the look that is under way, or a new one; None where the last began only just now."""
        moment = self._clock()
        if self._looking is None and moment - self._looked_at >= LOOK_INTERVAL_SECONDS:
            self._looked_at = moment
            # A task of its own: the request that happened to come first may be given up, those behind it still wait.
            self._looking = asyncio.create_task(self._renew(), name="keys of the issuer")
        return self._looking

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                self._keys = await self._published()
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            if not self._is_failing:
                logger.warning("the issuer %s does not give its keys: %s", self.address, in_words(error))
            self._is_failing = True
        else:
            if self._is_failing:
                logger.info("the issuer %s gives its keys again", self.address)
            self._is_failing = False
            self._seen_at = self._clock()
        finally:
            self._looking = None

    async def _published(self) -> KeySet:
        """Fetch the keys by way of the discovery document (OpenID Connect Discovery 1.0, sections 4 and 3)."""
        discovery = await self._document(self.address.rstrip("/") + DISCOVERY_PATH)
        if discovery.get("issuer") != self.address:
            raise ValueError(f"its discovery document is that of the issuer {discovery.get('issuer')!r}")
        address = str(discovery.get("jwks_uri"))
        if checked_address(address).scheme != self._scheme:
            raise ValueError(f"its discovery document leads to {address}")
        return key_set(await self._document(address), self._algorithms)

    async def _document(self, address: str) -> Json:
        # As it is: a compressed body could unfold to any size before its end is seen.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with self._http.stream("GET", address, headers=headers, timeout=LOOK_SECONDS_MAX) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"{address} answers {answer.status_code}")
            async for part in answer.aiter_raw():
                body += part
                if len(body) > DOCUMENT_BYTES_MAX:
                    raise ValueError(f"{address} answers with more than {DOCUMENT_BYTES_MAX} bytes")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError(f"{address} answers with no JSON object")
        return document
