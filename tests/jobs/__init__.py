"""Jobs where more than Python is needed: PostgreSQL, a file system of their own, and time."""
