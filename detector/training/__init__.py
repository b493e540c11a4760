"""Training: recipes, losses, the loop, checkpoints, several processes. Knows of no data set's file format."""
