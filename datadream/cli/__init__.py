"""The command line: one file a noun, thin; every command calls the library and prints what it returned."""
