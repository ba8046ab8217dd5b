"""A report: one HTML file with pictures of a run, of a study or of a comparison, that needs no network and no other file.

page.py is the frame with styles and the little script, marks.py what pages consist of (tiles, bars, tables), plots.py pictures with
axes, timeline.py what ran when. of_run.py and of_study.py say what is on a page.
"""
