"""Figures of a study as SVG text. `drawing` has the style that they share; each other file draws one kind of figure."""
