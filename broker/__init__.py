"""The service beside ComfyUI: shows and decides what waits in the store, over HTTP and on the command line.

Imports ``gates``, never the parts of it that need torch or ComfyUI. ``bootstrap`` and ``embedded``
need the standard library only, because they run before anything is installed.
"""
