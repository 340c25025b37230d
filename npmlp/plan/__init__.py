"""A recorded training step, kept: what it costs, beside what this machine could do."""
