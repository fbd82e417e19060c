"""The meter: exactly how many operations a run executed, and what they would cost, projected, under a named table.

Rules of counting

* A spike that reaches n existing outputs costs n synaptic operations (SynOps): additions of a weight, be that 0 or not.
  Taps that fall into padding or between strides cost nothing. An integer event of k spikes costs k times as much;
  beside it stands the other reading, one integer multiply-accumulate for each output (`int_macs`).
* The fan-out of a position is separable (`fanout`). Its total is also the sum of a convolution with unit weights, and
  what an event loop counts.
* A real-valued input costs one multiply-accumulate (MAC) for each existing tap.
* A neuron costs, for each step, the addition of its current, its leak (nothing, a shifted subtraction, or a
  multiplication: `leak_of`) and a comparison with its threshold, and for each spike its reset: `neurons`.
* Reads and writes are counted as if there were no cache: see `LayerCount`.
* The conventional network is counted by the same rules: taps in the padding cost nothing, and of its MACs those that
  meet the zero of a ReLU can be counted apart.
* The estimate of the literature, firing rate x MACs, stands beside the exact count: the two differ where spikes lie
  near borders and where layers differ in rate.

    with count_synops() as meter:
        model(x)
    text = meter.report().table()
    energy = projected_energy(meter.report(), "fp32")

Arithmetic leaves out memory traffic and routing, which dominate on most hardware (Dampfhoffer et al. 2023, IEEE TETCI
7(3):731-741). Tables such as "fp32@dram" project memory as well, apart; energies are projections, not measurements.
"""

from .attention import (
    AttentionCount,
    Tallies,
    qk_counts,
    sdsa_counts,
    spike_driven_counts,
    ssa_counts,
    tallied_counts,
    zero_scores,
)
from .costs import ACCESS, ARITHMETIC, PLACEMENTS, TABLES, CostTable, Placement, access_energy, cost_table
from .counting import (
    SpikeCount,
    conv_int_macs,
    conv_macs,
    conv_synops,
    count_spikes,
    is_spiking,
    matmul_synops,
    packed_bytes,
    unit_counts,
)
from .energy import MemoryEnergy, ProjectedEnergy, projected_energy
from .fanout import Fanout, axis_fanout, axis_outputs, fanout
from .layers import LayerCount
from .literature import full_kernel_synops, padded_macs, rate_times_macs
from .meter import Meter, count_synops, metering, record, record_conv
from .parts import (
    Leak,
    Reset,
    biases,
    compared_with,
    counted_macs,
    counted_synapses,
    held_current,
    interpolation,
    leak_of,
    neurons,
    spiking_only,
    synapses,
    through_same_synapses,
)
from .report import Report

__all__ = [
    "ACCESS",
    "ARITHMETIC",
    "PLACEMENTS",
    "TABLES",
    "AttentionCount",
    "CostTable",
    "Fanout",
    "LayerCount",
    "Leak",
    "MemoryEnergy",
    "Meter",
    "Placement",
    "ProjectedEnergy",
    "Report",
    "Reset",
    "SpikeCount",
    "Tallies",
    "access_energy",
    "axis_fanout",
    "axis_outputs",
    "biases",
    "compared_with",
    "conv_int_macs",
    "conv_macs",
    "conv_synops",
    "cost_table",
    "count_spikes",
    "count_synops",
    "counted_macs",
    "counted_synapses",
    "fanout",
    "full_kernel_synops",
    "held_current",
    "interpolation",
    "is_spiking",
    "leak_of",
    "matmul_synops",
    "metering",
    "neurons",
    "packed_bytes",
    "padded_macs",
    "projected_energy",
    "qk_counts",
    "rate_times_macs",
    "record",
    "record_conv",
    "sdsa_counts",
    "spike_driven_counts",
    "spiking_only",
    "ssa_counts",
    "synapses",
    "tallied_counts",
    "through_same_synapses",
    "unit_counts",
    "zero_scores",
]
