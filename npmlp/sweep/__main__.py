"""`python -m npmlp.sweep`"""

from __future__ import annotations

import sys

from npmlp import commands
from npmlp.sweep.command import main

if __name__ == "__main__":
    sys.exit(commands.run(main))
