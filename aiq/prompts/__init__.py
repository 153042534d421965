"""Prompt files: what a line is, which shapes it may have, and what is wrong with a bad one."""
