"""Module: what is found in the tree, what a state holds, and the sentences of its errors."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysnnmed import Tensor
from pysnnmed.errors import ParameterError, WeightsError
from pysnnmed.nn import Buffer, Module, Parameter


class Scale(Module):
    """x times a factor; counts its calls in a buffer."""

    def __init__(self, factor):
        self.factor = Parameter(np.full(2, factor, np.float32))
        self.calls = Buffer(np.zeros(1, np.float32))

    def forward(self, x):
        self.calls.data += 1
        return x * self.factor

    def describe(self):
        return "2"


class Chain(Module):
    def __init__(self, n=2):
        self.first = Scale(2)
        self.rest = [Scale(3 + i) for i in range(n)]
        self.settings = {"a": 1, "b": [2, 3]}  # a dict without members is fine

    def forward(self, x):
        for layer in [self.first, *self.rest]:
            x = layer(x)
        return x


def test_members_are_named_by_their_path():
    net = Chain()
    assert [name for name, _ in net.named_parameters()] == ["first.factor", "rest.0.factor", "rest.1.factor"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "rest.0", "rest.1"]
    assert [name for name, _ in net.named_buffers()] == ["first.calls", "rest.0.calls", "rest.1.calls"]
    assert [name for name, _ in net.children()] == ["first", "rest.0", "rest.1"]
    assert net.n_parameters == 6


def test_a_shared_member_is_listed_once():
    net = Chain()
    net.again = net.first
    net.tied = net.rest[0].factor
    assert net.n_parameters == 6
    assert [name for name, _ in net.named_modules()] == ["", "first", "rest.0", "rest.1"]


@pytest.mark.parametrize(
    "hidden", [{"a": Scale(1)}, [[Scale(1)]], {"a": {"b": [Parameter(np.ones(1))]}}, {"a": (Buffer(np.ones(1)),)}]
)
def test_a_hidden_member_is_refused(hidden):
    net = Chain()
    net.hidden = hidden
    with pytest.raises(ParameterError, match=r"Chain\.hidden.*must be attributes or elements of a list"):
        list(net.parameters())


@given(seed=st.integers(0, 2**32 - 1))
def test_a_state_survives_the_round_trip(seed):
    rng = np.random.default_rng(seed)
    net, other = Chain(), Chain()
    for parameter in net.parameters():
        parameter.data = rng.normal(size=2).astype(np.float32)
    net(Tensor(np.ones(2, np.float32)))
    state = net.state_dict()
    other.load_state_dict(state)
    for path, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[path])
        assert array.dtype == np.float32
    x = Tensor(rng.normal(size=(3, 2)).astype(np.float32))
    np.testing.assert_array_equal(other(x).data, net(x).data)


def test_a_state_is_a_copy_both_ways():
    net = Chain()
    state = net.state_dict()
    state["first.factor"][:] = 7
    assert net.first.factor.data[0] == 2
    net.load_state_dict(state)
    state["first.factor"][:] = 8
    assert net.first.factor.data[0] == 7


def test_a_state_takes_the_type_of_the_module():
    net = Chain().astype(np.float64)
    net.load_state_dict(Chain().state_dict())
    assert {a.dtype for a in net.state_dict().values()} == {np.dtype(np.float64)}
    with pytest.raises(ParameterError, match=r"Chain.astype: the type must be floating-point, not int32"):
        net.astype("int32")


def test_a_wrong_state_changes_nothing_and_is_explained():
    net = Chain()
    state = {path: array + 1 for path, array in net.state_dict().items()}
    renamed = {path.replace("first", "frist"): array for path, array in state.items()}
    with pytest.raises(
        WeightsError, match=r"missing: first.calls, first.factor; unexpected: frist.calls, frist.factor"
    ):
        net.load_state_dict(renamed)
    with pytest.raises(WeightsError, match=r"rest.1.calls has shape \(1,\) in this module and \(5,\) in the state"):
        net.load_state_dict(state | {"rest.1.calls": np.zeros(5)})
    assert net.first.factor.data[0] == 2


def test_modes_and_gradients_reach_every_module():
    net = Chain()
    assert net.training
    assert net.eval() is net
    assert not any(module.training for _, module in net.named_modules())
    assert all(module.training for _, module in net.train().named_modules())
    net.first.requires_grad_(False)
    net(Tensor(np.ones(2, np.float32))).sum().backward()
    assert net.first.factor.grad is None
    assert net.rest[1].factor.grad is not None
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())
    net.requires_grad_()
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_modules_can_be_copied_and_pickled():
    net = Chain()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [name for name, _ in twin.named_parameters()] == [name for name, _ in net.named_parameters()]
        twin.first.factor.data += 1
    assert net.first.factor.data[0] == 2


def test_repr_is_a_tree_and_labels_are_paths():
    net = Chain(1)
    assert repr(net) == "Chain()\n  first: Scale(2)\n  rest.0: Scale(2)"
    assert net.rest[0].label == "Scale"
    assert net.name_layers().rest[0].label == "rest.0"
    assert net.label == "Chain"


def test_typos_and_missing_methods_raise():
    with pytest.raises(AttributeError):
        Chain().frist  # noqa: B018
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        Module()(1)
