"""The three ways a command ends early; the command line prints each as one line and exits with its code."""


class Gen2recoError(Exception):
    """Base of all errors shown to a user without a traceback."""

    exit_code = 1


class InputError(Gen2recoError):
    """The user's input is wrong: names the file, the field, the value, what was expected, what to do."""

    exit_code = 2


class InfrastructureError(Gen2recoError):
    """The machine failed (disk, memory, device): exits with EX_TEMPFAIL, which the profile retries."""

    exit_code = 75
