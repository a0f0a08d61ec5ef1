"""What is passed on as it is, to the model or the upstream that a request names: no routing, no translation.

Moderations, reranking, audio, images, files, batches, stored responses, and Anthropic's count of tokens. Each is
answered by one upstream, counts against its key's limits and is a row in the account; what an upstream says goes
on untouched.
"""
