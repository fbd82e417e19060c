"""Judging a network by the labels of pairs: registering them, scoring, summing up, comparing, submitting.

    network = Network.load("hippocampus", Settings())
    rows = list(evaluate(network, [FileCase(pair) for pair in read_pairs("pairs.csv")]))

Reading order: cases (what is registered), scores (what is measured), learn2reg (the challenge's numbers and files),
progress (one case after the other), tables (CSV and JSON), comparison (two networks on the same cases).
"""
