"""The HTTP/1.1 server beneath the application: a protocol for uvicorn and its event loop. Knows nothing else of this package."""
