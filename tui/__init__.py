"""The Textual app: screens, widgets and their style, over what a home holds."""
