"""All that is to be measured on a GPU, in one command, for the day one is there.

    python -m engine_build gpu_day --json gpu.json

`plan.py` says what the steps are and what each needs. `runner.py` runs each in a process of its own, within its time,
and writes the figures down as they come; `child.py` is the other side of that. The rest are the steps.
"""
