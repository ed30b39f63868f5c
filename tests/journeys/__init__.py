"""Journeys: HTTP in and SMTP out, as visitors, recipients and publishing systems travel."""
