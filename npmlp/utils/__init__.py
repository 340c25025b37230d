"""What stands beside the engine: so far `npmlp.utils.data`."""

from npmlp.utils import data

__all__ = ["data"]
