"""Metrics of the paper's data sets: AVA frame mAP, Kinetics top-k, Charades mAP; tables and plots of them."""
