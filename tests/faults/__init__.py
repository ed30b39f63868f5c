"""Faults: real processes are killed while a release goes out, and everyone is counted."""
