"""The OpenAI-compatible gateway: one base URL, and every call goes to the model that is worth it.

``app.py`` is the ASGI application, ``exchange.py`` the way of one request through it. Needs the extra ``gateway``.
"""
