"""Inverse problems with known answers: prior, forward model and noise, with a reference posterior
beside them."""
