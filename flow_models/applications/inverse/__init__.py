"""Inverse problems: what applications 5, 6 and 7 share."""
