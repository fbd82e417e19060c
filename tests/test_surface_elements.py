"""Surface elements and weighted surface distances: laws of geometry, closed forms, and DeepMind's numbers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pysnnmed.errors import ParameterError, ShapeError
from pysnnmed.metrics.surface_distance import compare_surfaces, label_surface_distances
from pysnnmed.metrics.surface_elements import element_areas, surface_elements

shapes = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6)
masks = shapes.flatmap(lambda s: hnp.arrays(bool, s))
mask_pairs = shapes.flatmap(lambda s: st.tuples(*[hnp.arrays(bool, s)] * 2))
sizes = st.sampled_from([0.5, 0.7, 1.0, 1.3, 3.0])


def spacings(data, ndim):
    return data.draw(st.tuples(*[sizes] * ndim))


def ball(radius, n):
    points = np.indices((n,) * 3) - (n - 1) / 2
    return (points**2).sum(axis=0) <= radius**2


# ---------------------------------------------------------------------------------------------------- elements


@pytest.mark.parametrize("ndim", [2, 3])
@given(data=st.data())
def test_areas_do_not_know_inside_from_outside(ndim, data):
    areas = element_areas(spacings(data, ndim))
    np.testing.assert_allclose(areas, areas[::-1], rtol=1e-12)
    assert areas[0] == areas[-1] == 0
    assert (areas[1:-1] > 0).all()


@given(masks, st.data())
def test_area_is_kept_by_translation_reversal_and_order_of_axes(mask, data):
    spacing = spacings(data, mask.ndim)
    want = surface_elements(mask, spacing).areas.sum()
    moved = np.pad(mask, [(data.draw(st.integers(0, 3)), 2) for _ in mask.shape])
    assert surface_elements(moved, spacing).areas.sum() == pytest.approx(want)
    for order in itertools.permutations(range(mask.ndim)):
        turned = mask.transpose(order)[tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in order)]
        assert surface_elements(turned, [spacing[a] for a in order]).areas.sum() == pytest.approx(want)


@given(masks, st.data())
def test_area_grows_with_the_square_of_the_spacing(mask, data):
    spacing = np.array(spacings(data, mask.ndim))
    once, twice = surface_elements(mask, spacing), surface_elements(mask, 2 * spacing)
    np.testing.assert_array_equal(once.corners, twice.corners)
    np.testing.assert_allclose(twice.areas, 2 ** (mask.ndim - 1) * once.areas, rtol=1e-12)


@given(masks)
def test_elements_stand_where_neighbouring_voxels_differ(mask):
    """Corner by corner, in plain loops."""
    padded = np.pad(mask, 1)
    want = [
        corner
        for corner in itertools.product(*(range(n + 1) for n in mask.shape))
        if len({bool(v) for v in padded[tuple(slice(c, c + 2) for c in corner)].ravel()}) == 2
    ]
    np.testing.assert_array_equal(surface_elements(mask).corners, np.reshape(want, (-1, mask.ndim)))


@given(spacing=st.tuples(sizes, sizes, sizes))
def test_simple_cubes_have_areas_that_anyone_can_compute(spacing):
    x, y, z = spacing
    areas = element_areas(spacing)
    cut_corner = math.sqrt((y * z) ** 2 + (x * z) ** 2 + (x * y) ** 2) / 8  # half of a cross product, sides s / 2
    for corner in range(8):
        assert areas[1 << corner] == pytest.approx(cut_corner)
    assert areas[0b00001111] == pytest.approx(y * z)  # halves along each axis
    assert areas[0b00110011] == pytest.approx(x * z)
    assert areas[0b01010101] == pytest.approx(x * y)
    assert areas[0b00000011] == pytest.approx(z * math.hypot(x, y) / 2)  # one edge along z: a slanted rectangle
    assert areas[0b10000001] == pytest.approx(2 * cut_corner)  # opposite corners do not meet
    assert areas[0b10010110] == pytest.approx(4 * cut_corner)  # no two corners of a kind share an edge


@given(spacing=st.tuples(sizes, sizes))
def test_squares_have_lengths_that_anyone_can_compute(spacing):
    x, y = spacing
    lengths, diagonal = element_areas(spacing), math.hypot(x, y) / 2
    for code in (0b0001, 0b0010, 0b0100, 0b1000, 0b0111, 0b1011, 0b1101, 0b1110):
        assert lengths[code] == pytest.approx(diagonal)
    assert lengths[0b0011] == lengths[0b1100] == pytest.approx(y)
    assert lengths[0b0101] == lengths[0b1010] == pytest.approx(x)
    assert lengths[0b0110] == lengths[0b1001] == pytest.approx(2 * diagonal)


@pytest.mark.parametrize("radius", [6.3, 10.1])
def test_a_ball_has_about_the_area_of_a_sphere(radius):
    area = surface_elements(ball(radius, 25)).areas.sum()
    sphere = 4 * math.pi * radius**2
    assert sphere < area < 1.12 * sphere  # bevelled stairs are larger than the sphere that they climb


def test_a_box_has_the_area_of_its_faces_less_its_bevels():
    spacing = np.array([2.0, 1.0, 0.5])
    box = np.zeros((9, 10, 11), bool)
    box[2:7, 3:8, 1:9] = True
    a, b, c = np.array([5, 5, 8]) * spacing
    x, y, z = spacing
    # every edge of the box is bevelled by half a voxel: two half-voxel strips give way to their diagonal
    bevels = [
        (length - size) * 4 * (math.hypot(p, q) / 2 - (p + q) / 2)
        for length, size, p, q in ((a, x, y, z), (b, y, x, z), (c, z, x, y))
    ]
    cut = math.sqrt((y * z) ** 2 + (x * z) ** 2 + (x * y) ** 2) / 8
    corners = 8 * (cut - (x * y + y * z + x * z) / 4)
    want = 2 * (a * b + b * c + a * c) + sum(bevels) + corners
    assert surface_elements(box, spacing).areas.sum() == pytest.approx(want)


@pytest.mark.parametrize(
    ("spacing", "total", "by_code"),
    [
        ((1, 1, 1), 241.34313970553745, 30771.250312456017),
        ((3, 2, 1), 950.4895895094023, 121187.42266244876),
        ((0.5, 1.25, 2), 370.0838105385635, 47185.68584366683),
    ],
)
def test_all_areas_are_those_of_deepminds_table(spacing, total, by_code):
    """Sums over the 256 codes, plain and weighted by the code, as surface-distance 0.1 computes them."""
    areas = element_areas(spacing)
    assert areas.sum() == pytest.approx(total, rel=1e-12)
    assert (np.arange(256) * areas).sum() == pytest.approx(by_code, rel=1e-12)


# --------------------------------------------------------------------------------------------------- distances


@given(mask_pairs, st.data())
def test_distances_are_those_of_plain_loops(pair, data):
    """Nearest element by trying all of them; percentile as the first distance whose area share is reached."""
    spacing = spacings(data, pair[0].ndim)
    found = compare_surfaces(*pair, spacing)
    elements = [surface_elements(mask, spacing) for mask in pair]
    sides = (found.a_to_b, found.areas_a, *elements), (found.b_to_a, found.areas_b, *elements[::-1])
    for distances, areas, own, other in sides:
        want = sorted(
            (min((float(np.linalg.norm((c - o) * spacing)) for o in other.corners), default=math.inf), float(area))
            for c, area in zip(own.corners, own.areas, strict=True)
        )
        assert distances == pytest.approx([d for d, _ in want])
        assert areas.sum() == pytest.approx(own.areas.sum())
        np.testing.assert_array_equal(distances, np.sort(distances))
    if all(mask.any() for mask in pair):
        reached = [
            next(d for i, d in enumerate(s) if area[: i + 1].sum() >= 0.7 * area.sum() * (1 - 1e-12))
            for s, area in ((found.a_to_b, found.areas_a), (found.b_to_a, found.areas_b))
        ]
        assert found.hausdorff(70) == pytest.approx(max(reached), abs=max(spacing))
        assert found.averages[0] == pytest.approx((found.a_to_b * found.areas_a).sum() / found.areas_a.sum())


@given(mask_pairs, st.data())
def test_distance_is_symmetric_and_zero_to_itself(pair, data):
    spacing, q = spacings(data, pair[0].ndim), data.draw(st.sampled_from([50, 95, 100]))
    there, back = compare_surfaces(*pair, spacing), compare_surfaces(*pair[::-1], spacing)
    assert there.assd == pytest.approx(back.assd, nan_ok=True)
    assert there.hausdorff(q) == pytest.approx(back.hausdorff(q), nan_ok=True)
    assert there.averages == pytest.approx(back.averages[::-1], nan_ok=True)
    if pair[0].any():
        itself = compare_surfaces(pair[0], pair[0], spacing)
        assert itself.assd == itself.hausdorff(q) == 0


@given(mask_pairs, st.data())
def test_distance_moves_turns_and_scales_with_space(pair, data):
    assume(all(mask.any() for mask in pair))
    ndim = pair[0].ndim
    spacing = np.array(spacings(data, ndim))
    want = compare_surfaces(*pair, spacing)
    margins = [(data.draw(st.integers(0, 2)), 1) for _ in range(ndim)]
    order = data.draw(st.permutations(range(ndim)))
    flips = tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in range(ndim))
    moved = [np.pad(mask, margins).transpose(order)[flips] for mask in pair]
    got = compare_surfaces(*moved, spacing[list(order)] * 3)
    assert got.assd == pytest.approx(3 * want.assd)
    assert got.hausdorff(100) == pytest.approx(3 * want.hausdorff(100))
    assert got.averages == pytest.approx([3 * average for average in want.averages])


def test_percentiles_grow_to_the_farthest_element():
    found = compare_surfaces(ball(6, 17), np.roll(ball(4, 17), 2, axis=0))
    values = [found.hausdorff(q) for q in (0, 25, 50, 90, 95, 99, 100)]
    assert values == sorted(values)
    assert values[-1] == max(found.a_to_b.max(), found.b_to_a.max())
    assert found.assd < values[-1]


@given(gap=st.integers(1, 6), size=sizes)
def test_parallel_slabs_are_as_far_apart_as_they_are(gap, size):
    """Thin plates through the whole plane: every element of one finds its counterpart straight across."""
    a = np.zeros((12, 7, 7), bool)
    b = np.zeros_like(a)
    a[2], b[2 + gap] = True, True
    found = compare_surfaces(a, b, (size, 1, 1))
    # a plate has two sides, one voxel apart; the near side of one meets the near side of the other
    near, far = sorted((abs(gap - 1) * size, gap * size))
    assert found.hausdorff(100) == pytest.approx(far)
    assert found.assd == pytest.approx((near + far) / 2)


def test_half_spaces_a_step_apart_are_that_far_apart_inside_the_image():
    """A half space reaches the border of the image; its far side then is a surface that both have in common."""
    a, b = np.zeros((2, 16, 1, 1), bool)
    a[:8], b[:11] = True, True
    found = compare_surfaces(a, b, (0.5, 9, 9))
    assert found.hausdorff(100) == pytest.approx(1.5)
    assert found.a_to_b[-1] == pytest.approx(0)  # a's end is a wall of b
    assert found.b_to_a[-1] == pytest.approx(1.5)


def test_shells_have_the_distance_of_their_radii():
    found = compare_surfaces(ball(6, 25), ball(9, 25))
    half_a_diagonal = math.sqrt(3) / 2  # an element stands at the corner of its voxels, not on the sphere
    assert found.assd == pytest.approx(3, abs=half_a_diagonal)
    assert found.hausdorff(95) == pytest.approx(3, abs=half_a_diagonal)


def test_a_surface_that_is_not_there_is_infinitely_far_away():
    full, none = np.ones((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    for found in (compare_surfaces(full, none), compare_surfaces(none, full)):
        assert found.hausdorff(95) == found.assd == math.inf
        assert sorted(map(str, found.averages)) == ["inf", "nan"]
    both = compare_surfaces(none, none)
    assert math.isnan(both.hausdorff(95))
    assert math.isnan(both.assd)
    hd, assd = label_surface_distances(full * 1, none + 2 * full, [1, 2, 3])
    np.testing.assert_array_equal(hd, [np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(assd, [np.inf, np.inf, np.nan])


@pytest.mark.parametrize(
    ("spacing", "averages", "hd95", "hd100"),
    [
        ((1, 1, 1), (1.8230828739706728, 1.9729771516278634), 4.242640687119285, 5.385164807134504),
        ((1.5, 0.7, 2.2), (2.539071790890749, 2.767096994942592), 7.1693793315739685, 9.170605214488301),
    ],
)
def test_distances_are_those_of_deepminds_package(spacing, averages, hd95, hd100):
    """Two ellipsoids, one touching the border of the image; numbers recorded from surface-distance 0.1."""
    i, j, k = np.indices((20, 24, 18))
    a = ((i - 9) / 7) ** 2 + ((j - 11) / 9) ** 2 + ((k - 8) / 5) ** 2 <= 1
    b = ((i - 11) / 5) ** 2 + ((j - 13) / 11) ** 2 + ((k - 5) / 6) ** 2 <= 1
    found = compare_surfaces(a, b, spacing)
    assert found.averages == pytest.approx(averages, rel=1e-12)
    assert found.hausdorff(95) == pytest.approx(hd95, rel=1e-12)
    assert found.hausdorff(100) == pytest.approx(hd100, rel=1e-12)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -2), (1, 1, math.nan), (1, 1, math.inf)])
def test_bad_spacing_is_refused(spacing):
    with pytest.raises(ParameterError, match="spacing must hold one positive number"):
        surface_elements(np.ones((2, 2, 2), bool), spacing)


def test_bad_shapes_and_percentiles_are_refused():
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        surface_elements(np.ones(4, bool))
    with pytest.raises(ShapeError, match="one shape"):
        compare_surfaces(np.ones((2, 2), bool), np.ones((2, 3), bool))
    with pytest.raises(ParameterError, match="percentile"):
        compare_surfaces(np.ones((2, 2), bool), np.ones((2, 2), bool)).hausdorff(101)
