"""`python -m npmlp.report`"""

from __future__ import annotations

import sys

from npmlp import commands
from npmlp.report import main

if __name__ == "__main__":
    sys.exit(commands.run(main))
