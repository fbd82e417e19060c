"""Kernels: the heavy loops, as functions of arrays. One module or package `<name>_kernels` per backend.

The contract
- `numpy_kernels` is the reference: vectorised, plain, and the definition of what every other backend computes.
- A kernel of another backend has the name, the parameters and the results of the reference. It may be missing.
- Arrays in, arrays out: a kernel never writes to an input, never keeps one, reads no global state but the thread
  limit in `threads`, and its result does not depend on that limit. Kernels of packed layers also take the description
  of the layer, and two arrays to write to: `out`, which is then what they return, and `scratch`, whose content is lost.
- The result has the floating-point type of the inputs; sums may run in another order than the reference's.
- Nothing here imports pysnnmed, so a backend can be tested, copied or replaced alone.
- Functions that are not kernels start with an underscore or live in a module of their own.
"""
