"""JSON files made readable: one HTML page with charts, one comparison of two runs."""
