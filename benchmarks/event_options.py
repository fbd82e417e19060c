"""The options that event_layer.py and event_unet.py have beyond those of every benchmark."""

from __future__ import annotations

from argparse import ArgumentTypeError

from options import PARSER


def _sizes(text: str) -> tuple[int, int, int]:
    """'160,192,224' -> (160, 192, 224)."""
    sizes = tuple(int(part) for part in text.split(","))
    if len(sizes) != 3 or min(sizes) < 1:
        raise ArgumentTypeError(f"three positive numbers, not {text}")
    return sizes[0], sizes[1], sizes[2]


def _rates(text: str) -> tuple[float, ...]:
    """'0.05,0.128' -> (0.05, 0.128)."""
    rates = tuple(float(part) for part in text.split(","))
    if not all(0 < rate < 0.5 for rate in rates):
        raise ArgumentTypeError(f"every rate must lie between 0 and 0.5, not {text}")
    return rates


def _peers(text: str) -> tuple[str, ...]:
    """'torch-snn-best,torch-ann-f32'; '' for none."""
    names = tuple(filter(None, text.split(",")))
    if not set(names) <= set(PEERS):
        raise ArgumentTypeError(f"the peers are {', '.join(PEERS)}, not {text}")
    return names


SPIKING_PEERS = ("spikingjelly-eager", "torch-snn-best")
PEERS = (*SPIKING_PEERS, "torch-ann-f32", "torch-ann-f32-onednn", "torch-ann-int8")

PARSER.add_argument("--peers", type=_peers, default=PEERS, help=f"comma-separated, by default {','.join(PEERS)}")
PARSER.add_argument("--size", type=_sizes, help="D,H,W of the input in voxels (event_unet: multiples of 16)")
PARSER.add_argument("--scale", choices=("full", "half"), default="full", help="of the default size")
PARSER.add_argument("--steps", type=int, default=4, help="time steps T (default 4)")
PARSER.add_argument("--rate", type=_rates, help="spike rates in (0, 0.5), comma-separated")
PARSER.add_argument("--cache", help="event_unet: folder of calibrated networks for the next run")
PARSER.add_argument("--budget", type=float, default=60.0, help="seconds of samples for each side (default 60)")
PARSER.add_argument("--no-memory", action="store_true", help="event_unet: leave out the peak memory")
PARSER.add_argument("--no-check", action="store_true", help="leave out the comparison of spikes")
