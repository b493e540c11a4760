"""The browser demo. It draws on `stream` alone and knows nothing of networks."""
