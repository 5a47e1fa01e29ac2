"""What a run shows: one typed record, drawn as a table, as plots and as a page."""
