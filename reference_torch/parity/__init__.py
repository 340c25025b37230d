"""npmlp and PyTorch in lockstep from one seed: where do they part, and by more than rounding?

`python -m reference_torch.parity --recipe residual --steps 500`. In reading order:

record.py     what is kept of a training step: outputs, masks, gradients, weights, running averages
rounding.py   how far apart two right answers may be: the same step with rounding noise in it
torch_step.py a step in PyTorch from any state, with or without that noise
lockstep.py   the trainings side by side, step by step
compare.py    two records of a step: what differs, by how many units in the last place, and whether
              that is more than rounding allows
causes.py     what a difference looks like the result of
faults.py     faults that can be planted, to see that they are found
result.py     the table, the JSON file;  picture.py  divergence by step
"""
