"""What may happen here: each use case is one function around one transaction."""
