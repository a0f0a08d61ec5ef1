"""Doors for other libraries: LangGraph, LangChain, OpenAI's Agents SDK, the Model Context Protocol.

Nothing here is imported until it is used; each file needs the extra of its name.
"""
