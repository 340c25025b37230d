"""Sweeps: a recipe trained with many values of some of its fields, and the best of them.

In reading order: space (what is tried), spec (the folder), study (Optuna's memory of it), samplers,
pool (what parent and workers say), work, processes, cluster, parent (the loop), results, heatmap,
run, command.
"""

from __future__ import annotations

from npmlp.sweep.command import main
from npmlp.sweep.run import Outcome, run_sweep
from npmlp.sweep.spec import Spec, SweepFolder
