"""Networks become fast engines here: export, build, cache, verify, run. Nothing here knows of cameras."""
