"""Many cameras in one process, for months: the file that describes them, shared work, health, metrics, a small API.

`stream.service` may use `stream.events`; nothing else of `stream` knows of this package.
"""
