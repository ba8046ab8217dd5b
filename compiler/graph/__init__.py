"""The float graph: what a model computes for one token, as data (ops.py), how it is made from a configuration (build.py), what it
must be (checks.py), and its executor in NumPy (execute.py) with plain or with the machine's arithmetic (arithmetic.py).

Imports neither lowering nor emulator: programs are compared with it.
"""

from compiler.graph.arithmetic import EXACT, PLAIN, Arithmetic
from compiler.graph.build import build, graph_of
from compiler.graph.checks import GraphError, check
from compiler.graph.execute import Executor
from compiler.graph.ops import KINDS, Cut, Graph, LayerBody, Op, Value, role_of, title_of

__all__ = ["EXACT", "KINDS", "PLAIN", "Arithmetic", "Cut", "Executor", "Graph", "GraphError", "LayerBody", "Op", "Value", "build",
           "check", "graph_of", "role_of", "title_of"]
