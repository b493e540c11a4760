"""From labels to events that people act on: rules, their state machines, store, films, MQTT, messages.

Where things are: `rules` (what a file of rules may say), `engine` (answers in, events out; pure), `store` (what was
told is kept), `outbox` (and delivered), `recorder` (pictures and films), `mqtt`, `tell`, `replay`. Nothing here knows
of the service that runs many cameras; the service knows of this. Needs `pip install 'slowfast-live[events]'`.
"""
