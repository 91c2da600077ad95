"""Errors that are the user's to mend: one line that names the file, the field and the mend."""


class InputError(Exception):
    """Report input that cannot be used.

    The message is one line: which file, row or field is wrong, and what to do about it.
    Commands print it and exit with status 2, without a traceback.
    """


class Interrupted(Exception):
    """Say that a run stopped early on request (SIGTERM, SIGUSR1) after saving its state.

    Commands print the message, which holds the command that goes on, and exit with status 0.
    """
