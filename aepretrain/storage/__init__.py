"""Files that are whole or not there, and JSON in them."""
