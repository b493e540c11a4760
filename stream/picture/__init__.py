"""What is drawn: boxes, labels, status, and the window that shows them."""
