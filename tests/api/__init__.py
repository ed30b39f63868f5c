"""The door of the publishing system."""
