"""Every change of the registry's schema, oldest first. Applied when a registry is opened."""
