"""The browser demo: your webcam, your video, your cameras. It draws on `stream` and knows nothing of networks.

Gradio makes the page; pictures travel over a plain WebSocket beside it (`demo.tab`), because that was measured to be
quicker and smoother than the alternatives: see `demo.measure`.
"""
