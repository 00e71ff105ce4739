"""Where the library's default rule fails a bar."""
