"""What starts runs, and what speaks up."""
