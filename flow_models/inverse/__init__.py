"""Inverse problems, applications 5, 6 and 7: posteriors of parameters given data.

pairs, annealing -> frames -> posterior_model (conditional), joint_posterior -> posterior_study
(training and judging) -> posterior_table, posterior_views -> posterior_run (6, 7), exact_study (5),
own_problem (`fit_posterior`)
"""
