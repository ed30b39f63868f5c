"""Rows and doorbells."""
