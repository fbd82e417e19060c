"""Telling what a program does, operation by operation, and the memory it takes."""

from __future__ import annotations

from typing import Any

from ..deploy.memory import Plan
from ..deploy.operations import Convolve, Operation, ReadOut, SpikingLayer, Synapses
from ..deploy.program import Program


def program_facts(program: Program, plan: Plan) -> dict[str, Any]:
    """Operations, types, bytes of weights, and the memory planned for inputs of the plan's shape; JSON-able."""
    operations = [
        {
            "name": operation.name,
            "operation": type(operation).__name__,
            "result": str(plan.values[operation.name]),
            "bytes": plan.values[operation.name].nbytes,
            "weights": [f"{s.weight.dtype} {list(s.weight.shape)}" for s in _synapses(operation)],
            "weight_bytes": sum(s.weight.nbytes for s in _synapses(operation)),
        }
        for operation in program.operations
    ]
    return {
        "operations": operations,
        "whole_numbers": program.integer,
        "weight_bytes": sum(operation["weight_bytes"] for operation in operations),
        "shape": list(plan.shape),
        "memory_bytes": plan.peak,
        "arena_bytes": plan.arena,
    }


def program_table(facts: dict[str, Any]) -> str:
    """The same for people, one line an operation, totals last."""
    rows = [
        (row["name"], row["operation"], row["result"], f"{row['bytes']:,}", ", ".join(row["weights"]))
        for row in facts["operations"]
    ]
    rows.insert(0, ("name", "operation", "result", "bytes", "weights"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {result:<{widths[2]}}  {size:>{widths[3]}}  {weights}".rstrip()
        for name, kind, result, size, weights in rows
    ]
    neurons = "neurons in whole numbers" if facts["whole_numbers"] else "neurons in float32"
    lines.append(
        f"{facts['weight_bytes']:,} bytes of weights, {neurons}; a run on {facts['shape']} takes "
        f"{facts['memory_bytes']:,} bytes, {facts['arena_bytes']:,} of them for values that come and go"
    )
    return "\n".join(lines)


def _synapses(operation: Operation) -> list[Synapses]:
    if isinstance(operation, SpikingLayer):
        return [synapses for _, synapses in operation.parts]
    return [operation.synapses] if isinstance(operation, ReadOut | Convolve) else []
