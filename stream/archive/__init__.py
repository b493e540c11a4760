"""What was recorded: a folder or list of videos, each worked through completely, resumed after any failure.

`python -m stream.archive FOLDER|LIST --output DIR`. Under DIR, of each video `NAME` (its path below FOLDER):

    answers/NAME.jsonl    one JSON line a key frame, schema 1 of `stream.results` (`compute_s` is 0: the same video
                          gives the same bytes each time)
    ava/NAME.csv          AVA's prediction format
    rows/NAME.parquet     one row a person and key frame, see below; `pandas.read_parquet("DIR/rows")` reads all
    events/NAME.jsonl     with --rules: every change of every event
    done/KEY.json         written when the files above are complete; KEY is a hash over the video's path, size, time
                          of change and all settings, so that whatever changes is done again and nothing else
    bad.csv               videos that could not be worked through, each with the reason
    summary.json, .html   totals, and the same as a page with plots

Columns of the Parquet files, schema 1 (the file's metadata hold `schema`, `model`, `labels` as JSON, `untrained`):

    video       string         NAME
    time_s      double         media time of the key frame
    due_s       double         the moment that was asked for: a multiple of --every
    frame       int64          number of the key frame, from 0
    width       int32          of the key frame, pixels
    height      int32
    person      int32          track id within the video; -1 without a track
    x1 y1 x2 y2 float          box in pixels of the key frame
    score       float          the detector's confidence, 0 to 1
    actions     list<string>   names of the actions over their threshold, best first; may be empty
    scores      list<float>    of all actions, 0 to 1, four digits, in the order of `labels`

Key frames without people have no row in Parquet; the JSON lines have them. One process a worker, with a session of
its own; the process that was started hands out videos and keeps the books. With `--ray ADDRESS` the workers are actors
of a Ray cluster instead, which see videos and DIR under the same paths; what they write is the same to the byte.
"""
