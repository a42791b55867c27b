"""What a search has found, on screen and as files."""
