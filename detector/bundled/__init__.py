"""The weights in the box, and how they were made."""
