"""What drawn people do: one file a family of acts."""
