"""One page for all cameras of a service: a wall of live tiles, events, zones, rules, behind a login.

`app` puts the routes together, `command` runs it. The page in `static/` is plain HTML, CSS and JavaScript modules.
"""
