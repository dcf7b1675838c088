"""The one error a user is meant to read."""


class FdsrError(Exception):
    """A condition the user can mend, told in one line: what is wrong, where, and the mend.

    The command line prints the message alone and exits with status 2; library callers catch it like any exception.
    """
