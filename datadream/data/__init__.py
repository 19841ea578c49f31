"""Where images come from: sources, their splits, few-shot sets, prompts, and decoding that trusts no file."""
