"""Samples of pysnnmed.ops.linalg."""

import numpy as np

rng = np.random.default_rng(3)

SAMPLES = {
    "Matmul": [
        ((rng.normal(size=a), rng.normal(size=b)), {})
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((5, 2, 3), (3, 4)),
            ((2, 3), (5, 3, 4)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3,), (5, 3, 2)),
            ((5, 2, 3), (3,)),
        ]
    ]
}
