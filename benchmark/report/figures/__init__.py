"""Figures as SVG text: `drawing` has the shared style; each other file draws one kind of figure."""
