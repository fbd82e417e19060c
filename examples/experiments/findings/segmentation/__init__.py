"""The ablations of the MedSpikeFormer paper as experiments: each a list of variants beside one network, the reference.

variants   what is compared with what
bench      pictures, teachers and trained networks: one folder and one row for each run
work       which run is next, so that several processes can share them
report     the tables and the document, of the runs that are there
"""
