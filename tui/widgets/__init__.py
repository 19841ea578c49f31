"""Parts that several screens share: paged table, log, chart, image."""
