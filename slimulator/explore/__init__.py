"""Many configurations of a model and a machine, side by side: a study, its points, its table.

axes.py says what can be varied, study.py and plan.py what a study asks for, work.py does a point, pool.py has several done at once,
records.py and table.py keep what came of it, sweep.py is all of it in order. search.py chooses points, cluster.py has them done
elsewhere, compare.py puts results side by side; studies.py are the studies that ship.
"""
