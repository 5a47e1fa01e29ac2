"""The command line: parses, calls study, prints."""
