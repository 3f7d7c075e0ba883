"""Real services for tests: plain classes, each a context manager that leaves nothing behind."""
