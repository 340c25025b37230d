"""torchvision imports beside a CPU build of torch, also after an import of it that failed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import contextlib
with contextlib.suppress(RuntimeError):
    import torchvision  # ends half way where its extension does not load
from reference_torch.torchvision_cpu import import_torchvision
assert import_torchvision() is import_torchvision()
from torchvision.transforms import functional
assert functional.hflip(functional.to_tensor(__import__("numpy").eye(2, 2))).sum() == 2
"""


def test_torchvision_imports_without_a_warning() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True)
