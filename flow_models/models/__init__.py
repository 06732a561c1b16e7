"""Partitions, codecs and the model."""
