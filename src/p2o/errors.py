"""Errors that a user can cause, and fix.

The command line prints the message alone (no traceback) and exits with code 2.
Every message is one sentence: what is wrong, where, and what to do.
"""


class P2OError(Exception):
    """Base of all errors whose cause is the user's input or environment."""

    exit_code = 2


class ConfigError(P2OError):
    """A recipe or an option is wrong (unknown key, bad value, batch sizes that do not divide)."""


class DataError(P2OError):
    """A data set cannot be read, or one of its rows cannot be used."""


class RewardError(P2OError):
    """A reward function cannot be loaded, or does not keep its contract."""


class ToolError(P2OError):
    """A tool or an environment cannot be loaded, or does not keep its contract."""


class ReflectorError(P2OError):
    """A reflector is configured wrongly (no endpoint, no key in the environment)."""


class StateError(P2OError):
    """A state file or run directory cannot be used (truncated, foreign, of another version)."""


class ForeignEvolutionError(StateError):
    """An evolution's folder holds another one (other samples, seeds or settings)."""


class VersionError(P2OError, ImportError):
    """An installed library has a version that p2o was not tested with."""
