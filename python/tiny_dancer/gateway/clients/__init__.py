"""Calls to upstreams: connection pools, timeouts phase by phase, failures by kind.

Plain HTTP (model servers on this machine or network) goes over :mod:`.http1`, in the event loop and without
another thread; TLS goes over :mod:`.tls`, where there are HTTP/2 and proxies. Both never follow a redirect and
never decompress: what arrives is what the upstream said.
"""
