"""Data: point sets with exact densities, real sets from packages, users' tables, and files local or
in S3."""
