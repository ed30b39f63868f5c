"""Storage: the database, its tables, and the queues of wake-up jobs in Redis."""
