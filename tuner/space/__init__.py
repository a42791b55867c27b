"""Search spaces: what is varied, read from TOML."""
