"""What can be wrong with an audio file, one class per remedy."""


class AudioError(Exception):
    """A file that cannot be analysed; `code` says why in one stable word.

    Attributes:
        code: stable machine-readable word, fixed per class.
        message: one sentence for people, without the path's secrets beyond its name.
    """

    code = "audio_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MissingFileError(AudioError):
    """Nothing exists at the path: it was moved or deleted; scan the library again."""

    code = "missing"


class UnreadableFileError(AudioError):
    """The path exists but cannot be read as a file: permissions, a directory, a device."""

    code = "unreadable"


class EmptyFileError(AudioError):
    """The file holds no bytes, or a valid header and no sample: replace it."""

    code = "empty_file"


class NotAudioError(AudioError):
    """The bytes are no audio format known to us, whatever the name says."""

    code = "not_audio"


class CorruptAudioError(AudioError):
    """The format is recognised, yet not one sample could be decoded: replace the file."""

    code = "corrupt"


class TooLongError(AudioError):
    """The recording is longer than the caller's limit."""

    code = "too_long"
