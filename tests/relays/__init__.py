"""Relays that misbehave while releases go out, as real processes; measured, in docs/relays.md."""
