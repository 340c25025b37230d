"""The few exceptions of npmlp. Each message says the operation, the argument, what it got,
what it expected, and what to try.
"""


class NpmlpError(Exception):
    """Base of npmlp's own errors: a command prints its message and exits with code 2."""


class ShapeError(NpmlpError, ValueError):
    """Shapes that do not fit together, or a dimension that does not exist."""


class DTypeError(NpmlpError, TypeError):
    """A dtype that the operation does not take, such as integer data where floats are expected."""


class GraphError(NpmlpError, RuntimeError):
    """The graph cannot be walked: backward twice, on a non-scalar, or after an in-place change."""


class DataError(NpmlpError, ValueError):
    """A data set that is missing, damaged, or not what it says it is."""


class CheckpointError(NpmlpError, ValueError):
    """A checkpoint or saved file that is damaged, of another network, or not ours."""


class RecipeError(NpmlpError):
    """A recipe or a flag with a value that makes no sense."""


class RunError(NpmlpError, RuntimeError):
    """A run that cannot start, go on or be read, or whose numbers are no longer finite."""


class OutsideSubsetError(NpmlpError, NotImplementedError, AttributeError):
    """PyTorch has it and npmlp does not: the message names it and says what to use instead."""
