"""One TOML file a method, and the models they parse into."""
