"""Passes: each makes a graph, or a model, from another.

    quantise.py     matrices in the formats of a recipe         sparsify.py     work only for neurons that are not zero
    kv_cache.py     formats of keys and values, who attends     calibrate.py    thresholds, for more neurons to be left alone
    to_banks.py     products in the banks of a PIM memory       prune.py        zeros in a dense model, before all others
    flow.py         N:M for each layer, for prune.py            layer_by_layer.py   a text through a model, for prune.py
    predict.py      neurons predicted, fetched as objects       lowrank.py      thin matrices that repair pruned ones
    project.py      block-diagonal matrices for dense ones      sparse_weights.py   sparse layouts of matrices with zeros
"""
