"""What one layer executed, as numbers that add up."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields

from ..errors import ParameterError


@dataclass(frozen=True)
class LayerCount:
    """What one layer executed. All numbers are exact counts over every time step, sample and call.

    Counts of two runs of a layer, or of its synapses and its neurons, are added with +. `steps` and `neurons` describe
    the layer and do not add up. None of the numbers knows of a cache: a weight is read for every operation that
    uses it, a membrane is read and written once for every neuron and step (partial sums of a step stay in the
    processor), a spike or a real value is written once by the layer that makes it and read once by each layer that
    takes it.

    `dense_macs` are the MACs of the same connections if every input were a real number at every step: the basis of
    rate x MACs. What begins with `ann_` belongs to the same layer of a conventional network, which runs it once, on
    real numbers, counted by the same rules: no MAC for a tap in the padding, a weight read for every MAC.

    Raises ParameterError for a count that is not a whole number of at least 0, `steps` of at least 1.
    """

    name: str
    steps: int = 1
    sites: int = 0  # input values seen: inputs x steps
    events: int = 0  # spikes, an integer k counting k
    synops: int = 0  # additions of a weight to a membrane, an integer k counting k
    macs: int = 0  # multiply-accumulates of real-valued inputs, zeros included
    nonzero_macs: int = 0  # of them, those whose input is not zero
    dense_macs: int = 0
    ann_macs: int = 0
    neurons: int = 0
    neuron_updates: int = 0  # charges h = leak(v) + current, one addition each; the leak is counted apart
    bias_adds: int = 0
    int_macs: int = 0  # instead of `synops`: one multiplication by the count k for each value k that is not 0
    adds: int = 0  # other additions: pooling, sums of maps, fixed terms of attention
    leak_multiplies: int = 0  # beta v, for a beta that is no shift; an integrate-and-fire neuron has none
    leak_shifts: int = 0  # v - (v >> n), for beta = 1 - 2**-n: one subtraction, the shift is wiring
    comparisons: int = 0  # of a membrane with a threshold, one for each level that the neuron may fire
    reset_subtractions: int = 0  # soft resets: one for each unit spike
    reset_writes: int = 0  # hard resets: one for each spike; the write itself is among `state_writes`
    weight_reads: int = 0  # weights and biases: one for each SynOp, MAC and bias addition
    state_reads: int = 0  # membranes, and currents that stay over the steps
    state_writes: int = 0
    spike_bytes_read: int = 0  # bits where spikes are packed, all of them, fired or not
    spike_bytes_written: int = 0
    value_reads: int = 0  # real numbers that are not states: images, fields
    value_writes: int = 0
    ann_nonzero_macs: int = 0  # of `ann_macs`, those whose activation is not 0; 0 where no activations were seen
    ann_adds: int = 0  # biases, and the comparison of each ReLU
    ann_weight_reads: int = 0
    ann_reads: int = 0  # activations
    ann_writes: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ParameterError(f"LayerCount: the name must be text, not {self.name!r}")
        for name in _COUNTS:
            value, least = getattr(self, name), 1 if name == "steps" else 0
            if type(value) is int and value >= least:
                continue
            try:
                whole = operator.index(value)  # counters of kernels are NumPy integers, which JSON does not know
            except TypeError:
                whole = -1
            if whole < least:
                raise ParameterError(
                    f"LayerCount {self.name}: {name} must be a whole number of at least {least}, not {value!r}"
                )
            object.__setattr__(self, name, whole)

    def __add__(self, other: LayerCount) -> LayerCount:
        summed = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS[1:]}
        summed["neurons"] = max(self.neurons, other.neurons)
        return LayerCount(self.name, max(self.steps, other.steps), **summed)

    @property
    def dense_synops(self) -> int:
        """SynOps if every input fired once at every step: `dense_macs` without those of real-valued inputs."""
        return self.dense_macs - self.macs

    @property
    def rate(self) -> float:
        """Events for each input value and step; 0 where nothing was seen."""
        return self.events / self.sites if self.sites else 0.0

    @property
    def synaptic_rate(self) -> float:
        """SynOps for each connection and step: the rate, weighted by what a spike costs; 0 without connections."""
        return self.synops / self.dense_synops if self.dense_synops else 0.0

    @property
    def rate_times_macs(self) -> float:
        """The estimate of the literature for `synops`."""
        return self.rate * self.dense_synops

    @property
    def additions(self) -> int:
        """Everything that costs one addition and is no synaptic operation; a comparison is a subtraction."""
        return (
            self.neuron_updates
            + self.leak_shifts
            + self.comparisons
            + self.reset_subtractions
            + self.bias_adds
            + self.adds
        )


_COUNTS = tuple(field.name for field in fields(LayerCount))[1:]
