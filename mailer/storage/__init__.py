"""Rows and doorbells: the database, the tables, and the queues in Redis."""
