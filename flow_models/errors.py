"""The one error that is the user's to mend."""


class UserError(ValueError):
    """A mistake in what the user gave: one line that says what was expected, what came and what to do about it.

    The scripts print the line on stderr and end with status 2; from Python it is a `ValueError`.
    """
