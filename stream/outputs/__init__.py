"""What is kept: films, JSON lines, AVA's CSV."""
