"""The pages, asked over HTTP without a server."""
