"""Pictures: reading, caching, streaming, and the sets inside packages."""
