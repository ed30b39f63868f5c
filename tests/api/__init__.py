"""The API of the publishing system."""
