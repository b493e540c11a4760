"""Many cameras from one file, for months. `python -m stream.serve --help`"""

from __future__ import annotations

import sys

from detector.command_line import CommandLine
from detector.errors import UserError, run_command

DESCRIPTION = """\
Watch the cameras that a file describes, share one detector and one network among
them, and tell their state at http://127.0.0.1:8089. The file is read again when it
changes (or on SIGHUP); cameras that did not change go on without a gap."""
EPILOG = """\
%(prog)s --example > cameras.yaml
%(prog)s cameras.yaml --check
%(prog)s cameras.yaml
%(prog)s cameras.yaml --status"""


def parser(prog: str = "python -m stream.serve") -> CommandLine:
    """The command's options."""
    cli = CommandLine(
        prog, description=DESCRIPTION, epilog=EPILOG, usage="%(prog)s [FILE] [options]", width=80,
    )
    cli.add_argument("file", nargs="?", metavar="FILE", help="the cameras' file (YAML)")
    what = cli.add_mutually_exclusive_group()
    what.add_argument("--example", action="store_true", help="print a commented file to start from")
    what.add_argument("--schema", action="store_true", help="print the file's JSON Schema, for editors")
    what.add_argument("--check", action="store_true", help="check the file and try each camera for five seconds")
    what.add_argument("--status", action="store_true", help="show the state of the running service as a table")
    cli.add_argument("--once", action="store_true", help="with --status: print the table once")
    cli.add_argument("--log-json", action="store_true", help="write the log as JSON lines")
    cli.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds")
    return cli


def main(argv: list[str] | None = None, prog: str = "python -m stream.serve") -> int:
    """Run the command."""
    import cv2

    from engine_build.memory import give_large_blocks_back_at_once
    from stream.service.needs import require_serve

    args = parser(prog).parse_args(argv)
    if args.seconds is not None and not args.seconds > 0:
        raise UserError(f"--seconds {args.seconds:g}: expected a number of seconds above 0")
    if args.once and not args.status:
        raise UserError("--once: is about the table, expected --status with it")
    require_serve()
    from stream.service import commands

    if args.example:
        return commands.print_example()
    if args.schema:
        return commands.print_schema()
    if args.file is None:
        raise UserError("expected the cameras' file; write one with: python -m stream.serve --example > cameras.yaml")
    if args.check:
        return commands.check(args.file)
    if args.status:
        return commands.status(args.file, args.once)
    # Pictures are small work; more threads of OpenCV's would only stand in the network's way.
    cv2.setNumThreads(1)
    give_large_blocks_back_at_once()
    return commands.serve(args.file, as_json=args.log_json, seconds=args.seconds)


if __name__ == "__main__":
    sys.exit(run_command(main))
