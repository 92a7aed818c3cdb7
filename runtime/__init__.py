"""What a script can reach: stages and verdicts, messages, rates, queue, scanners.

Knows nothing of sockets that serve, nor of configuration files.
"""
