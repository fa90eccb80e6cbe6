"""Everything that can go wrong, as one tree; each branch knows its exit code.

    RedubError                 1
    ├── UsageError             2   the words typed make no sense together
    ├── ConfigError            4   a setting, table or project is wrong; nothing was done
    │   └── MissingExtraError  4   an optional package is needed; the message names the extra
    ├── StorageError           5   the disk is full, read-only or gone; nothing half-written is read
    ├── IntegrityError         6   bytes on disk are not the bytes that were committed
    ├── LockedError            7   another run holds the project
    ├── ModelRefusedError      8   a checkpoint does not fit or may not be trusted
    ├── ClusterLostError       9   the Dask cluster went away
    └── ClipError              3   one clip cannot be used: quarantined, the rest goes on
        └── FeatureAbsent      –   one feature of one clip has no value: a null with a reason

A message says what was found, what was wanted and what to do. ``code`` is the stable short
name that scripts and the quarantine table use (``E-IN-EMPTY``, ``E-CFG-KEY``, …).
"""


class RedubError(Exception):
    """Base of all errors that end in one line for the user and an exit code."""

    exit_code = 1
    default_code = "E-ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        # Dask carries errors between processes; keyword-only arguments need help to survive that.
        return (_rebuild, (type(self), self.message, self.code))


def _rebuild(kind: type[RedubError], message: str, code: str) -> RedubError:
    return kind(message, code=code)


class AnotherFailed(RedubError):
    """Another of several processes met what ends all of them; that one says so."""


class UsageError(RedubError):
    exit_code = 2
    default_code = "E-USAGE"


class ConfigError(RedubError):
    exit_code = 4
    default_code = "E-CFG"


class MissingExtraError(ConfigError):
    default_code = "E-EXTRA"


class StorageError(RedubError):
    exit_code = 5
    default_code = "E-STORE"


class IntegrityError(RedubError):
    exit_code = 6
    default_code = "E-INT-HASH"


class LockedError(RedubError):
    exit_code = 7
    default_code = "E-LOCKED"


class ModelRefusedError(RedubError):
    exit_code = 8
    default_code = "E-MODEL"


class ClusterLostError(RedubError):
    exit_code = 9
    default_code = "E-CLUSTER"


class ClipError(RedubError):
    """One clip (or one media file) cannot be used; it is quarantined and the rest goes on.

    ``signal`` names the signal that ended the decoder child, if one did (``SIGABRT``);
    ``peak_memory_mib`` is known only where a child process was measured.
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
    """One feature has no value for this clip (no face, no speech, no text): null, never zeros."""

    default_code = "E-FEAT-ABSENT"
