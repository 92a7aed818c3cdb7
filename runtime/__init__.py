"""What a script can reach: stages and verdicts, messages, rates, queue, scanners. Knows no serving sockets, no config files."""
