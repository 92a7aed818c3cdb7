"""The functions of the mail stages, by chapter. Each is declared once; `stages.py` gathers them per stage."""
