"""The counts of a run, layer by layer, as tables for people and JSON for programs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TypeAlias

from ..errors import ParameterError
from .layers import LayerCount


@dataclass(frozen=True)
class Report:
    """The counts of a run, layer by layer."""

    layers: tuple[LayerCount, ...]

    @property
    def total(self) -> LayerCount:
        """All layers as one; neurons of different layers add up."""
        if not self.layers:
            return LayerCount("total")
        total = functools.reduce(LayerCount.__add__, self.layers)
        return replace(total, name="total", neurons=sum(layer.neurons for layer in self.layers))

    @property
    def steps(self) -> int:
        """T: the number of time steps of the layer that ran the most."""
        return max((layer.steps for layer in self.layers), default=1)

    @property
    def ann_macs(self) -> int:
        """MACs of the conventional network with the same layers, run once, zeros of its ReLUs included."""
        return sum(layer.ann_macs for layer in self.layers)

    @property
    def ann_nonzero_macs(self) -> int | None:
        """Of them, those whose input is not zero; None where no activations of that network were seen."""
        return sum(layer.ann_nonzero_macs for layer in self.layers) or None

    @property
    def rate_times_macs(self) -> float:
        """The sum over layers of the literature's estimate of SynOps."""
        return sum(layer.rate_times_macs for layer in self.layers)

    def with_activations(self, conventional: Report) -> Report:
        """This report, with the zeros that the conventional network met: MACs by layer of a run of that network.

        Raises ParameterError where the two do not have the same layers with the same MACs.
        """
        theirs = {layer.name: layer for layer in conventional.layers}
        ours = {layer.name: layer.ann_macs for layer in self.layers}
        if ours != {name: layer.macs for name, layer in theirs.items()}:
            different = [n for n in ours.keys() | theirs.keys() if n not in theirs or ours.get(n) != theirs[n].macs]
            raise ParameterError(
                f"Report: the conventional network must have the same layers and MACs, and differs in "
                f"{', '.join(sorted(different))}"
            )
        return Report(tuple(replace(c, ann_nonzero_macs=theirs[c.name].nonzero_macs) for c in self.layers))

    # ------------------------------------------------------------------------------------------------- as text

    def table(self) -> str:
        """Synaptic operations as text, one line a layer, totals last."""
        columns = [
            _whole("events", 14, "events"),
            ("rate", 8, lambda row: f"{row.total.rate:.2%}"),
            _whole("SynOps", 17, "synops"),
            ("rate x MACs", 17, lambda row: f"{row.rate_times_macs:,.0f}"),
            _whole("int MACs", 15, "int_macs"),
            _whole("MACs", 15, "macs"),
            _whole("analog MACs", 17, "ann_macs"),
        ]
        return self._lines(
            columns,
            f"exact counts over T = {self.steps}; rate x MACs is the literature's estimate of SynOps; int MACs would "
            "replace SynOps",
        )

    def neuron_table(self) -> str:
        """What neurons do besides integrating spikes, as text, one line a layer, totals last."""
        columns = [
            _whole("neurons", 12, "neurons"),
            _whole("charges", 13, "neuron_updates"),
            _whole("leak mult.", 13, "leak_multiplies"),
            _whole("leak shifts", 13, "leak_shifts"),
            _whole("comparisons", 13, "comparisons"),
            _whole("soft resets", 13, "reset_subtractions"),
            _whole("hard resets", 13, "reset_writes"),
            _whole("biases, adds", 14, "bias_adds", "adds"),
        ]
        return self._lines(columns, "a charge, a shift, a comparison and a soft reset are one addition each")

    def memory_table(self) -> str:
        """What is read and written, as text, one line a layer, totals last."""
        columns = [
            _whole("weight reads", 16, "weight_reads"),
            _whole("state reads", 14, "state_reads"),
            _whole("state writes", 14, "state_writes"),
            _whole("spike B read", 14, "spike_bytes_read"),
            _whole("spike B written", 16, "spike_bytes_written"),
            _whole("values read", 13, "value_reads"),
            _whole("values written", 15, "value_writes"),
        ]
        return self._lines(columns, "whatever caches there are: a weight is read for every operation that uses it")

    def _lines(self, columns: Sequence[Column], remark: str) -> str:
        rows = [(layer.name, Report((layer,))) for layer in self.layers] + [("total", self)]
        width = max(len(name) for name, _ in [*rows, ("layer", self)])
        lines = [f"{'layer':<{width}}" + "".join(f"{title:>{space}}" for title, space, _ in columns)]
        lines += [
            f"{name:<{width}}" + "".join(f"{text(row):>{space}}" for _, space, text in columns) for name, row in rows
        ]
        return "\n".join([*lines, remark])

    # ------------------------------------------------------------------------------------------------- as JSON

    def to_json(self) -> str:
        """The report as JSON: T, totals and layers, every number an exact count."""
        counts = {"steps": self.steps, "ann_macs": self.ann_macs, "rate_times_macs": self.rate_times_macs}
        return json.dumps({**counts, "total": asdict(self.total), "layers": [asdict(c) for c in self.layers]})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote, or a file that contains one; other keys are left alone.

        Raises ParameterError for text that is no report, and for totals that are not those of the layers.
        """
        try:
            content = json.loads(text)
            known = {field.name for field in fields(LayerCount)}
            layers = content["layers"]
            unknown = {key for layer in layers for key in layer} - known
            report = cls(tuple(LayerCount(**{k: v for k, v in layer.items() if k in known}) for layer in layers))
            own, totals = asdict(report.total), dict(content.get("total", {}))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ParameterError(f"Report: the text must be JSON written by to_json, and is not ({error})") from error
        if unknown:
            raise ParameterError(f"Report: layers must have the counts of LayerCount, not {', '.join(sorted(unknown))}")
        wrong = [key for key, value in totals.items() if key in own and own[key] != value]
        if wrong:
            raise ParameterError(f"Report: the totals must be those of the layers, and differ in {', '.join(wrong)}")
        return report


Column: TypeAlias = tuple[str, int, Callable[[Report], str]]  # title, width, the text in the line of a report


def _whole(title: str, width: int, *names: str) -> Column:
    """A column that shows the sum of some counts."""
    return title, width, lambda row: f"{sum(getattr(row.total, name) for name in names):,}"
