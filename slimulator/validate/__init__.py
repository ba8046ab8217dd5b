"""Validation: published simulators' workloads as Slim programs, whose values NumPy checks and whose cycles are compared.

    points.py          a point of a published simulator, and what a program gives for it here
    program.py         a program of the pim unit: it runs, its values are checked, its operations go through the rule of banks
    pim_simulator.py   PIMSimulator: Samsung's kernels on HBM2-PIM; plain.py: its plain accesses;
                       controller.py: its lists of requests, in the order of a controller with a queue
    aim.py             aim_simulator: forms of GDDR6-AiM
    dramsim3.py        DRAMsim3: streams and random accesses of plain DRAM
    attacc.py          AttAcc: attention of one token, at banks, bank groups or the buffer

Published systems, which are no simulators to run, have figures alone:

    checks.py          a published figure, and what programs give
    layers.py          one layer of a model of some shape, compiled and run for a token
    systems.py         times of a token: HPIM, and an A100 as a roofline; slim_llama.py: Slim-Llama; energy.py: energies
"""
