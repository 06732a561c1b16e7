"""Exact samplers, Laplace approximations and MCMC: what posteriors are compared with."""
