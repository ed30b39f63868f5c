"""The domain: each use case is one function around one transaction."""
