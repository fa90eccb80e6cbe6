"""The error classes of redub, in one tree; each class has its exit code.

    RedubError                 1
    ├── UsageError             2   command line options that contradict each other
    ├── ConfigError            4   a setting, table or project is wrong; nothing was done
    │   └── MissingExtraError  4   an optional package is needed; the message names the extra
    ├── StorageError           5   the disk is full, read-only or missing
    ├── IntegrityError         6   bytes on disk differ from the bytes that were committed
    ├── LockedError            7   another process has locked the project
    ├── ModelRefusedError      8   a checkpoint does not fit the model or is not trusted
    ├── ClusterLostError       9   the connection to the Dask cluster was lost
    └── ClipError              3   one clip cannot be used: it is quarantined, the run continues
        └── FeatureAbsent      –   one feature of one clip has no value: a null with a reason

A message says what was found, what was expected and what to do. ``code`` is the stable short
name that scripts and the quarantine table use (``E-IN-EMPTY``, ``E-CFG-KEY``, …).
"""


class RedubError(Exception):
    """Base class of all errors that the command line shows as one line, with an exit code.

    ``code`` defaults to the ``default_code`` of the class.
    """

    exit_code = 1
    default_code = "E-ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        # Dask pickles errors; by default pickle cannot pass keyword-only arguments.
        return (_rebuild, (type(self), self.message, self.code))


def _rebuild(kind: type[RedubError], message: str, code: str) -> RedubError:
    return kind(message, code=code)


class AnotherFailed(RedubError):
    """Another process (rank) of this run failed; that process reports the error."""


class UsageError(RedubError):
    """Command line options that are missing or contradict each other."""

    exit_code = 2
    default_code = "E-USAGE"


class ConfigError(RedubError):
    """A setting, table or project is wrong; nothing was done."""

    exit_code = 4
    default_code = "E-CFG"


class MissingExtraError(ConfigError):
    """An optional package is not installed; the message names the extra."""

    default_code = "E-EXTRA"


class StorageError(RedubError):
    """The disk is full, read-only or missing; a partly written file is never read."""

    exit_code = 5
    default_code = "E-STORE"


class IntegrityError(RedubError):
    """Bytes on disk differ from the bytes that were committed."""

    exit_code = 6
    default_code = "E-INT-HASH"


class LockedError(RedubError):
    """Another process has locked the project."""

    exit_code = 7
    default_code = "E-LOCKED"


class ModelRefusedError(RedubError):
    """A checkpoint does not fit the model, or it is not trusted."""

    exit_code = 8
    default_code = "E-MODEL"


class ClusterLostError(RedubError):
    """The connection to the Dask cluster was lost."""

    exit_code = 9
    default_code = "E-CLUSTER"


class ClipError(RedubError):
    """One clip (or one media file) cannot be used; it is quarantined and the run continues.

    Attributes:
        signal: name of the signal that ended the decoder child (``SIGABRT``), or None.
        peak_memory_mib: peak memory of the child process in MiB, None if it was not measured.
        attempts: how often the operation was tried.
    """

    exit_code = 3
    default_code = "E-CLIP"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        signal: str | None = None,
        peak_memory_mib: int | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, code=code)
        self.signal = signal
        self.peak_memory_mib = peak_memory_mib
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        values = (self.message, self.code, self.signal, self.peak_memory_mib, self.attempts)
        return (_rebuild_clip, (type(self), *values))


def _rebuild_clip(
    kind: type[ClipError],
    message: str,
    code: str,
    signal: str | None,
    peak_memory_mib: int | None,
    attempts: int,
) -> ClipError:
    return kind(
        message, code=code, signal=signal, peak_memory_mib=peak_memory_mib, attempts=attempts
    )


class FeatureAbsent(ClipError):
    """One feature has no value for this clip (no face, no speech, no text): null, not zeros."""

    default_code = "E-FEAT-ABSENT"
