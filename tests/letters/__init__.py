"""The letters as they are seen: by people in a browser, by a validator, by other mail clients."""
