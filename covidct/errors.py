"""What can go wrong because of an input or a machine, said in one message, with an exit code.

Everything a user can cause or mend is a `CovidctError`. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class CovidctError(Exception):
    """One clear message: what is wrong, where, and the way out.

    Args:
        what: What was found and what was expected.
        where: The file, table row or config key it was found in; a patient is named by pseudonym only.
        remedy: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  do:    {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments survive a worker process
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(cls: type[CovidctError], what: str, where: str | None, remedy: str | None) -> CovidctError:
    return cls(what, where=where, remedy=remedy)


class UsageError(CovidctError):
    """A wrong command, key or value. Exit code 2."""

    exit_code = 2


class DataRefused(CovidctError):
    """Input data that cannot be used as they are. Exit code 3."""

    exit_code = 3


class IntegrityError(CovidctError):
    """Files that do not belong together, leak, or changed since they were frozen. Exit code 4."""

    exit_code = 4


class ResourceError(CovidctError):
    """Something of the machine is missing: a package, memory, disk, network. Exit code 5."""

    exit_code = 5


class Interrupted(CovidctError):
    """Stopped from outside; the same command continues the work. Exit code 6."""

    exit_code = 6


class Alarm(CovidctError):
    """An audit was done, its results are written, and it found something. Exit code 7."""

    exit_code = 7
