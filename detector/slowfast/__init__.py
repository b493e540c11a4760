"""The network of "SlowFast Networks for Video Recognition" (Feichtenhofer, Fan, Malik, He; ICCV 2019)."""
