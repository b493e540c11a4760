"""What the first screen shows: the bundled clip with the labels that the bundled model gave it.

`python -m demo.first_clip` looks at the clip once more and writes `assets/clip.json`; run it when either has changed.
The page draws the labels over the clip while it plays.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from demo.colours import styles_of
from demo.viewing import describe_people
from detector.command_line import CommandLine
from detector.errors import run_command
from stream.sources import SAMPLE, VideoFile

ASSET = Path(__file__).with_name("assets") / "clip.json"
# So many a second are kept; boxes of people who walk move a few pixels between them.
PICTURES_PER_S = 12.5


def label_clip() -> dict[str, Any]:
    """Run the bundled model over the bundled clip.

    Returns:
        `model`, `styles` (see `demo.colours`) and `pictures`: a list of [time in s, people as `describe_people` says].
    """
    from stream.pipeline import Options, Pipeline
    from stream.session import open_session

    session = open_session("bundled", "auto")
    pictures: list[list[Any]] = []
    try:
        limits = session.model.labels.default_thresholds()
        with Pipeline(VideoFile(SAMPLE), session, Options()) as pipeline:
            for update in pipeline:
                if update.frame is None or (pictures and update.time_s < pictures[-1][0] + 0.9 / PICTURES_PER_S):
                    continue
                people = describe_people(update, limits)
                for person in people:
                    person["box"] = [round(v, 3) for v in person["box"]]
                pictures.append([round(update.time_s, 2), people])
        model = session.model
        return {"model": model.name, "styles": styles_of(model.labels, model.works_on_real_video), "pictures": pictures}
    finally:
        session.close()


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    cli = CommandLine("python -m demo.first_clip", description="Label the clip of the demo's first screen.")
    cli.add_argument("--output", default=str(ASSET), metavar="FILE", help=argparse.SUPPRESS)
    args = cli.parse_args(argv)
    made = label_clip()
    Path(args.output).write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{args.output}: {len(made['pictures'])} pictures, by {made['model']}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
