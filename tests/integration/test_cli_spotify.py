"""`backline spotify`: accounts are connected by a browser that comes back, playlists analysed, plays read."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from shared.model import Db
from shared.settings import Settings, get_settings
from shared.store import connections
from tests.api_server import serving
from tests.fake_accounts import Playlist, place
from tests.fake_providers import FakeProviders, track_id
from tests.integration.engine import Engine, engine_on
from tests.shell import Shell
from workers.providers.services import close_services

ID = "37i9dQZF1DXcBWIGoYBM5M"


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


@pytest.fixture
def shell(
    db: Db, chosen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    with serving(chosen) as client:
        monkeypatch.setenv("BACKLINE_URL", str(client.base_url).rstrip("/"))
        monkeypatch.setenv("BACKLINE_API_KEY", client.headers["authorization"].removeprefix("Bearer "))
        get_settings.cache_clear()
        yield Shell(capsys)


class Browser:
    """A browser that goes where it is sent, on behalf of whoever is signed in at Spotify."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response] = []
        self.wrong_first = False
        self._threads: list[Thread] = []

    def open(self, url: str) -> bool:
        self._threads.append(Thread(target=self._go, args=(url,)))
        self._threads[-1].start()
        return True

    def _go(self, url: str) -> None:
        with httpx.Client(follow_redirects=True, trust_env=False) as client:
            if self.wrong_first:
                place_ = parse_qs(urlsplit(url).query)["redirect_uri"][0]
                self.answers.append(client.get(f"{place_}?code=stolen&state=another"))
            self.answers.append(client.get(url))

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    one = Browser()
    monkeypatch.setattr(webbrowser, "open", one.open)
    yield one
    one.close()


def test_an_account_is_connected_by_the_browser_that_comes_back(shell: Shell, browser: Browser, db: Db) -> None:
    answer = shell("spotify", "connect", "--user", "ada")

    assert answer.code == 0, answer.err
    assert "The account of ada is connected." in answer.err
    assert "/authorize?" in answer.err
    browser.close()
    assert "close this page" in browser.answers[-1].text
    assert connections.find(db, "local", "ada") is not None
    assert shell("spotify", "disconnect", "--user", "ada").code == 0
    assert connections.find(db, "local", "ada") is None
    assert shell("spotify", "disconnect", "--user", "ada", "--json").json == {"userId": "ada", "forgotten": False}


def test_a_caller_with_another_state_is_told_nothing_and_not_believed(shell: Shell, browser: Browser) -> None:
    browser.wrong_first = True
    assert shell("spotify", "connect", "--user", "ada", "--json").json["status"] == "connected"

    browser.close()
    assert [one.status_code for one in browser.answers] == [404, 200]
    assert browser.answers[0].text == ""


def test_who_says_no_is_told_that_nothing_is_connected(shell: Shell, browser: Browser, fake: FakeProviders) -> None:
    fake.accounts.says_no = True
    answer = shell("spotify", "connect", "--user", "ada")

    assert answer.code == 4
    assert "access_denied" in answer.err


@pytest.mark.usefixtures("working")
def test_a_playlist_is_told_in_figures_and_words_and_drawn(shell: Shell, fake: FakeProviders, tmp_path: Path) -> None:
    fake.accounts.playlists[ID] = Playlist(name="Mine [bold]", places=[place(track_id(n)) for n in range(5)])
    answer = shell("spotify", "analyze-playlist", ID, "--visualizations", "-o", str(tmp_path), "--user", "ada")

    assert answer.code == 0, answer.err
    assert "Mine [bold]: 5 tracks, 5 with features, 17 min, 1 artist, popularity 50" in answer.out
    assert "danceability" in answer.out
    assert "time signature: 4/4 5" in answer.out
    assert "Harmonically uniform: 1 different key." in answer.out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["distributions.png", "distributions.svg", "radar.png", "radar.svg"]
    plain = shell("spotify", "analyze-playlist", f"spotify:playlist:{ID}", "--no-recommendations", "--json").json
    assert plain["files"] == []
    assert plain["job"]["summary"]["analysis"]["recommendations"] == []


@pytest.mark.usefixtures("working")
def test_a_playlist_that_can_not_be_read_is_said_to_be_so(shell: Shell) -> None:
    answer = shell("spotify", "analyze-playlist", ID)
    assert answer.code == 1
    assert "404" in answer.err


def test_what_is_no_playlist_is_refused_before_anything_is_done(shell: Shell, db: Db) -> None:
    answer = shell("spotify", "analyze-playlist", "https://example.com/mix")
    assert answer.code != 0
    assert "no playlist's id, URI or address" in answer.err
    assert db["jobs"].count_documents({}) == 0


def test_pictures_need_a_folder(shell: Shell, tmp_path: Path) -> None:
    answer = shell("spotify", "analyze-playlist", ID, "--visualizations", "-o", str(tmp_path / "none"))
    assert answer.code == 2
    assert "no folder" in answer.line


@pytest.mark.usefixtures("working", "browser")
def test_plays_are_read_for_one_user_or_for_all(shell: Shell, fake: FakeProviders) -> None:
    fake.accounts.person("ada").plays.append((datetime(2026, 11, 20, 12, tzinfo=UTC), track_id(1)))
    assert shell("spotify", "connect", "--user", "ada").code == 0
    assert "ada: 1 new play, 0 known" in shell("spotify", "sync-history", "--user", "ada").out
    assert "ada: 0 new plays, 0 known" in shell("spotify", "sync-history", "--all").out
    both = shell("spotify", "sync-history", "--all", "--user", "ada")
    assert (both.code, "Give one of them" in both.err) == (2, True)
    missing = shell("spotify", "sync-history", "--user", "bob")
    assert missing.code == 1
    assert "not connected" in missing.out
