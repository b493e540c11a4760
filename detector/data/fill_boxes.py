"""The former name of `python -m detector.training.fill_boxes`, kept because people type it."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("detector.training.fill_boxes", run_name="__main__")
