"""Calls to upstreams: connection pools, timeouts phase by phase, failures by kind.

HTTP/1.1, plain or over TLS, goes over :mod:`.http1`, in the event loop and without another thread. :mod:`.http2`
is for upstreams that are asked over HTTP/2. Both go through the proxy that the environment names; neither follows
redirects. What arrives compressed, though nobody asked for it, is decoded. Both end a call that is cancelled, and
the upstream sees it.
"""
