"""Letters and messages, read back as a mail client reads them."""
