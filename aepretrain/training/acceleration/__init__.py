"""What makes a step fast, called by name from the loop."""
