"""`python -m reference_torch.parity`"""

from __future__ import annotations

import sys

from npmlp import commands
from reference_torch.parity.command import main

if __name__ == "__main__":
    sys.exit(commands.run(main))
