"""The fan-out, from the freeze of an audience to the last answer of the relay."""
