"""Rows and queues."""
