"""What is compared: the reference, whose settings the recipe has, and networks that differ from it in one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pysnnmed.decomposition import MAPS

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """A network and how it is trained: what differs from the recipe.

    name      of its runs; it belongs to these changes and no others
    network   fields of the network's configuration
    loss      fields of the loss
    taught    whether it is aligned with the frozen teacher of its seed
    """

    name: str
    network: Changes = field(default_factory=dict, hash=False)
    loss: Changes = field(default_factory=dict, hash=False)
    taught: bool = True


@dataclass(frozen=True)
class Experiment:
    """Variants, each under the name of its line in the table, in the order of the table; one is the reference.

    shows_teacher   whether the table has a line for the teacher itself
    """

    name: str
    title: str
    about: str
    lines: Mapping[str, Variant]
    shows_teacher: bool = False


REFERENCE = Variant("reference")

ATTENTION = Experiment(
    "attention",
    "Decomposed attention against others",
    """\
The attention of all stages. Around it everything is the same, and what is left of the size goes into the channel MLP,
so that networks have nearly as many parameters. Decomposed attention (SDSA) and spiking self-attention (SSA) run
between tokens, without softmax, by their linear forms.
""",
    {
        "decomposed (SDSA)": REFERENCE,
        "spiking (SSA)": Variant("spiking", network={"attention": "spiking"}),
        "Q-K, token": Variant("qk-token", network={"attention": "qk-token"}),
        "Q-K, channel": Variant("qk-channel", network={"attention": "qk-channel"}),
        "spike-driven": Variant("spike-driven", network={"attention": "spike-driven"}),
    },
)

INTERACTIONS = Experiment(
    "interactions",
    "The four interactions",
    """\
Decomposed attention has four maps: active or inactive spikes of Q with active (A) or inactive (I) ones of K. They are
summed in two halves, AA + II and AI + IA, each with a norm and neurons of its own. One map is left out of its half, of
which the other map is left; parameters stay.
""",
    {"all four": REFERENCE}
    | {f"without {one[0]}-{one[1]}": Variant(f"without-{one}", network={"removed": one}) for one in MAPS},
)

TEACHER = Experiment(
    "teacher",
    "The analog teacher and the terms of the alignment",
    """\
While it is trained, the map of the last stage is drawn to that of an analog teacher with softmax attention, which is
frozen by then and the same for all networks of a seed: by Bernoulli KL and L2 of the probabilities. *Literal* is the KL
term as the paper's equation has it, s log(s / a), which is no divergence: it is smallest where the network marks less
than its teacher.
""",
    {
        "teacher, KL and L2": REFERENCE,
        "without the teacher": Variant("without-teacher", taught=False),
        "without the KL term": Variant("without-kl", loss={"kl": 0.0}),
        "without the L2 term": Variant("without-l2", loss={"l2": 0.0}),
        "literal KL, and L2": Variant("literal-kl", loss={"kind": "literal"}),
    },
    shows_teacher=True,
)

SPIKE_CONVOLUTION = Experiment(
    "spike-convolution",
    "Spike convolutions",
    """\
Depthwise convolution, neurons, 1×1 convolution, with a shortcut: one in the embedding of each stage, two in each
decoder. Without them nothing stands in their place, so that the network is smaller. Its teacher is that of all others.
""",
    {
        "with": REFERENCE,
        "without": Variant("without-spike-convolution", network={"spike_convolution": False}),
    },
)

STEPS = Experiment(
    "steps",
    "Time steps",
    """\
The picture is the same current at every step, and the head reads the mean over the steps; a network is trained at the T
that it runs at, for as many steps of training.
""",
    {
        f"T = {steps}": REFERENCE if steps == 4 else Variant(f"t{steps}", network={"steps": steps})
        for steps in (1, 2, 4, 8)
    },
)

# The order in which they are run: what matters most comes first.
EXPERIMENTS = {one.name: one for one in (ATTENTION, INTERACTIONS, TEACHER, SPIKE_CONVOLUTION, STEPS)}


def variants_of(names: list[str]) -> list[Variant]:
    """The variants of experiments, each once, in the order in which they are run: the reference first."""
    chosen = [variant for name in EXPERIMENTS if name in names for variant in EXPERIMENTS[name].lines.values()]
    return list({variant.name: variant for variant in [REFERENCE, *chosen]}.values())
