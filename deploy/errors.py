"""What can go wrong while the parts of one machine are started and kept running."""

from __future__ import annotations

from typing import ClassVar

from shared.errors import BacklineError


class LauncherError(BacklineError):
    """The stack on this machine could not be started or kept running."""

    code: ClassVar[str] = "launcher_failed"
    advice: ClassVar[str] = "Look at logs/backline.log in the data folder."


class EmbeddedServersMissing(LauncherError):
    """No server is configured, and the embedded ones are not installed."""

    code = "embedded_servers_missing"
    advice = "Install backline[embedded], or set REDIS_URL and MONGODB_URI."


class DataFolderInUse(LauncherError):
    """Another Backline runs on this data folder."""

    code = "data_folder_in_use"
    advice = "Stop that one first, or choose another folder with --data."


class DataFolderUnusable(LauncherError):
    """The data folder can't be made, read or written."""

    code = "data_folder_unusable"
    advice = "Choose a data folder that you may write to, with space left."


class ForeignServerFiles(LauncherError):
    """The data folder holds files of another server version, which this one may damage."""

    code = "foreign_server_files"
    advice = "Install the version that made them, or choose another data folder."


class PortInUse(LauncherError):
    """Another program listens on the port that was asked for."""

    code = "port_in_use"
    advice = "Choose another one with --port; 0 takes any that is free."


class PartFailed(LauncherError):
    """A part of the stack can't be started, or ends again and again."""

    code = "part_failed"


class PartMisconfigured(LauncherError):
    """A part refuses to start with the settings that it finds."""

    code = "part_misconfigured"
    advice = ""  # its own words say what to do


class StoppedEarly(LauncherError):
    """Somebody stopped the stack before it was ready."""

    code = "stopped_early"
    advice = ""


class StartTimedOut(LauncherError):
    """The stack did not become ready in time."""

    code = "start_timed_out"


class DiskAlmostFull(LauncherError):
    """The disk has too little space left for the servers, which a full one can damage."""

    code = "disk_almost_full"
    advice = "Make room on the data folder's disk, then start again; no finished work is lost."


class ServerGaveUp(LauncherError):
    """A server failed again after it was restarted, so everything was stopped to keep the data safe."""

    code = "server_gave_up"
    advice = "Check the free space on the data folder's disk, then start again; no finished work is lost."
