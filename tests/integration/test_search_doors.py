"""Search through the doors of a whole stack: the tools of assistants, and the command line."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from mcp import Client

from api.cli.errors import ExitCode
from api.mcp.answers import BYTES_MAX
from deploy.stack import RunningStack
from shared.settings import Settings
from shared.store.database import connect as connect_database
from shared.store.indexes import IndexPointer
from tests.mcp_client import ERAS, Door, call, connect, refused, run, text_of
from tests.search_stage import THEMES, Show, Song, publish
from tests.shell import Shell
from tests.waiting import wait_until

SHOWS = [
    Show(id="mal-1", title="Cowboy Bebop", theme="space", year=1998, tags=("Noir",)),
    *(Show(id=f"src-{n}", title=f"Story {n}", theme=sorted(THEMES)[n % 5], year=2000 + n % 20) for n in range(60)),
]
SONGS = [
    Song(user="ada", id=f"song-{n}", title=f"Song {n}", sound=n, features={"tempo": 90.0 + n, "energy": n / 30})
    for n in range(30)
]


@pytest.fixture(scope="module")
def indexed(stack: RunningStack) -> Iterator[tuple[IndexPointer, IndexPointer]]:
    """The stack with both indexes; the catalogue has a state before, too."""
    settings = Settings(mongodb_uri=stack.mongodb_uri, data_dir=stack.data_dir)
    db = connect_database(settings)
    with db.client:
        publish(db, settings, [show.entry() for show in SHOWS[:1]])
        pointers = (
            publish(db, settings, [show.entry() for show in SHOWS]),
            publish(db, settings, [song.entry() for song in SONGS], name="tracks"),
        )
        yield pointers


@pytest.fixture(autouse=True)
def searchable(indexed: tuple[IndexPointer, IndexPointer], http: httpx.Client) -> None:
    for pointer in indexed:

        def is_open(pointer: IndexPointer = pointer) -> bool:
            answer = http.post("/api/search", json={"index": pointer.name, "query": "x"})
            return bool(answer.is_success and answer.json()["index"]["snapshot"] == pointer.snapshot)

        wait_until(is_open, what="the opening of the index")


def test_the_stack_is_ready_with_search_and_tells_nobody_the_token(http: httpx.Client, stack: RunningStack) -> None:
    assert http.get("/health/ready").json()["parts"]["search"]["ok"]
    assert "search" in stack.parts


# Assistants


@pytest.mark.parametrize("era", ERAS)
def test_an_assistant_finds_things_and_what_is_like_them(stack: RunningStack, era: str) -> None:
    async def steps(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "vector" not in tools["search_catalogue"].input_schema["properties"]
        wanted = {"query": "cowbyo bebop", "filters": {"year": {"max": 1999}}}
        result = await client.call_tool("search_catalogue", wanted)
        assert result.structured_content is not None
        assert [hit["itemId"] for hit in result.structured_content["hits"]] == ["mal-1"]
        assert text_of(result.content).startswith("Cowboy Bebop (itemId mal-1): type=TV year=1998")
        assert "cowbyo in title" in text_of(result.content)
        similar = await call(client, "find_similar", itemId="mal-1", limit=3)
        assert len(similar["hits"]) == 3
        tracks = await call(client, "search_tracks", targets={"tempo": 100.0}, userId="ada", limit=1)
        assert tracks["hits"][0]["trackId"] == "song-10"
        sounds = await call(client, "find_similar", trackId="song-10", userId="ada", limit=2)
        assert {hit["trackId"] for hit in sounds["hits"]} < {"song-8", "song-9", "song-11", "song-12"}
        playlist = await call(client, "build_playlist", **{"from": "song-2", "to": "song-20", "length": 5})
        assert [playlist["tracks"][place]["trackId"] for place in (0, -1)] == ["song-2", "song-20"]

    run(lambda: connected(stack, era, steps))


async def connected(stack: RunningStack, era: str, steps: object) -> None:
    async with connect(Door(stack.url, stack.key), era) as client:
        await steps(client)  # type: ignore[operator]


def test_an_assistant_reads_page_after_page_and_none_is_too_long(stack: RunningStack) -> None:
    async def steps(client: Client) -> None:
        found: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(40):
            wanted = {"query": "story", "mode": "lexical", "limit": 100, **cursor}
            result = await client.call_tool("search_catalogue", wanted)
            page = result.structured_content
            assert page is not None
            assert len(str(page["hits"])) < 2 * BYTES_MAX
            found += [hit["itemId"] for hit in page["hits"]]
            if page["nextCursor"] is None:
                break
            assert page["nextCursor"] in text_of(result.content)
            cursor = {"cursor": page["nextCursor"]}
        assert sorted(found) == sorted(show.id for show in SHOWS[1:])

    run(lambda: connected(stack, "auto", steps))


def test_an_assistant_is_told_what_is_wrong_and_what_to_do(stack: RunningStack) -> None:
    async def steps(client: Client) -> None:
        assert (await refused(client, "find_similar"))["code"] == "invalid_request"
        assert (await refused(client, "find_similar", itemId="a", trackId="b"))["code"] == "invalid_request"
        assert (await refused(client, "find_similar", itemId="nothing"))["code"] == "entry_not_found"
        assert (await refused(client, "search_catalogue"))["code"] == "invalid_request"
        assert (await refused(client, "search_tracks", query="x", cursor="no"))["code"] == "invalid_cursor"
        assert (await refused(client, "build_playlist", seeds=["nothing"]))["code"] == "entry_not_found"
        assert (await call(client, "search_catalogue", query="qqqqqq", mode="lexical"))["hits"] == []

    run(lambda: connected(stack, "auto", steps))


# The command line


def test_the_command_line_searches_and_says_why(shell: Shell) -> None:
    people = shell("search", "cowbyo bebop", "--year", "1990-1999", "--tag", "noir", "--type", "TV")
    assert (people.code, people.err) == (0, "")
    for words in ("mal-1", "Cowboy Bebop", "1998", "cowbyo in title"):
        assert words in people.out
    found = shell("search", "a story", "--mode", "semantic", "--limit", "7", "--json").json
    assert len(found["hits"]) == 7
    assert "Nothing was found" in shell("search", "qqqqqq", "--mode", "lexical").err
    years = shell("search", "a story", "--mode", "semantic", "--year", "2015-", "--json", "-n", "100").json
    assert {hit["attributes"]["year"] for hit in years["hits"]} == set(range(2015, 2020))


def test_the_command_line_searches_tracks(shell: Shell) -> None:
    tracks = ("search", "--index", "tracks", "--user", "ada")
    near = shell(*tracks, "--near", "tempo=100", "--near", "energy=0.3", "-n", "3", "--json").json
    assert near["hits"][0]["trackId"] in ("song-9", "song-10")
    slow = shell(*tracks, "song", "--tempo", "-95", "--json").json
    assert {hit["trackId"] for hit in slow["hits"]} == {f"song-{n}" for n in range(6)}
    assert "song-11 (ada)" in shell("similar", "song-10", "--tracks", "--user", "ada", "-n", "2").out


def test_the_command_line_finds_what_is_similar(shell: Shell) -> None:
    answer = shell("similar", "mal-1", "-n", "5", "--json").json
    assert len(answer["hits"]) == 5
    assert shell("similar", "nothing").code == ExitCode.REFUSED


def test_the_command_line_takes_any_filter(shell: Shell) -> None:
    early = shell(
        "search", "a story", "--mode", "semantic", "--filters", '{"year": {"max": 2002}}', "-n", "100", "--json"
    )
    assert {hit["attributes"]["year"] for hit in early.json["hits"]} == {1998, 2000, 2001, 2002}
    assert shell("search", "a story", "--filters", '{"colour": 1}').code == ExitCode.REFUSED


def test_the_command_line_builds_playlists(shell: Shell) -> None:
    path = ("playlist", "--from", "song-1", "--to", "song-9", "-n", "5", "--user", "ada", "--repeat-artists")
    built = shell(*path, "--energy", "rising", "--json").json
    assert [len(built["tracks"]), built["tracks"][0]["trackId"], built["tracks"][-1]["trackId"]] == [
        5,
        "song-1",
        "song-9",
    ]
    people = shell("playlist", "song-3", "-n", "3", "--user", "ada", "--energy", "0.1,0.2")
    assert (people.code, "(ada)" in people.out) == (0, True)
    assert "too few artists" in people.err  # all are by one
    assert shell("playlist", "nothing").code == ExitCode.REFUSED


def test_the_command_line_shows_clusters(shell: Shell) -> None:
    assert "vector_index" not in shell("clusters").err
    assert "a job of the kind clusters" in shell("clusters", "--index", "tracks").err
    assert shell("submit", "clusters", '{"index": "tracks", "kMax": 4}', "--watch").code == 0
    groups = shell("clusters", "--index", "tracks", "--item", "ada\nsong-1", "--json").json
    assert sum(one["size"] for one in groups["clusters"]) == 30
    people = shell("clusters", "--index", "tracks", "--item", "ada\nsong-1")
    assert "Song" in people.out
    assert f"is in group {groups['itemCluster']}" in people.err


def test_the_command_line_shows_indexes_and_the_way_back(shell: Shell, http: httpx.Client) -> None:
    assert "catalogue" in shell("indexes", "list").out
    shown = {index["name"]: index for index in shell("indexes", "list", "--json").json["indexes"]}
    assert (shown["catalogue"]["entries"], shown["tracks"]["entries"]) == (61, 30)
    assert "catalogue" in shell("indexes", "rollback", "catalogue").out
    assert shell("indexes", "rollback", "catalogue", "--json").json["entries"] == 61
    assert shell("indexes", "rollback", "tracks").code == ExitCode.REFUSED


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--index", "albums"),
        ("x", "--year", "nineties"),
        ("x", "--year", "-"),
        ("x", "--near", "colour=1"),
        ("x", "--near", "tempo"),
        ("x", "--mode", "magic"),
        ("x", "--limit", "101"),
        ("x", "--filters", "[]"),
        ("x", "--filters", "{"),
    ],
)
def test_what_the_command_line_can_not_read_is_wrong_usage(nowhere: Shell, arguments: tuple[str, ...]) -> None:
    assert nowhere("search", *arguments).code == ExitCode.USAGE


@pytest.mark.parametrize("arguments", [(), ("x", "--energy", "wild"), ("x", "--length", "0"), ("x", "--energy", "1,")])
def test_a_playlist_that_can_not_be_read_is_wrong_usage(nowhere: Shell, arguments: tuple[str, ...]) -> None:
    assert nowhere("playlist", *arguments).code == ExitCode.USAGE


def test_the_status_shows_the_search_server(shell: Shell) -> None:
    assert "Search" in shell("status").out
    assert shell("status", "--json").json["parts"]["search"]["ok"]
