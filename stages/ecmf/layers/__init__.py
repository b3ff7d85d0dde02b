"""What fusion models are built of: rows with masks in, rows or vectors out."""
