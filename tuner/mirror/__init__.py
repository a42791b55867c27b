"""A run in object storage: mirrored while it is searched, pulled where it goes on or is read."""
