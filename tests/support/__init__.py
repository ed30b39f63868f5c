"""What tests of several packages share: a clock that can be turned, and a scripted relay."""
