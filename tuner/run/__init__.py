"""The run folder: where each file is, how it is written, and how it is mirrored to object storage."""
