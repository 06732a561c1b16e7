"""Generative classification: what applications 3 and 4 share."""
