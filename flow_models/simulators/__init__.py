"""Inverse problems: prior, forward model and noise, some with an exact posterior beside them."""
