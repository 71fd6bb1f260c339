"""Records -> rows -> ranking -> tables and page."""
