"""Shards: Parquet files of rows in random order below a folder or S3 prefix, made part by part by n
processes or machines, and read by training without a listing."""

from flow_models.data.shards.files import read, write
from flow_models.data.shards.folder import Part, Prepared, Split, is_prepared
from flow_models.data.shards.order import ShardPasses
from flow_models.data.shards.reading import Reader

__all__ = ["Part", "Prepared", "Reader", "ShardPasses", "Split", "is_prepared", "read", "write"]
