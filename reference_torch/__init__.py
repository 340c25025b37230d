"""The same recipes in plain PyTorch, to be held beside npmlp's.

Nothing here imports npmlp's engine, so that it can disagree with it. Two faces that compare the two
import both: parity and gradcheck.
"""
