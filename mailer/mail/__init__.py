"""Mail: composes letters as messages, signs them, hands them to the relay, reads inbound mail."""
