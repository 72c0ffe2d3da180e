"""Values that live at the same time never share memory, and as little memory is used as their lives allow."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gdkernels.lowering.allocation import ALIGNMENT, MemoryAccess, allocate


def test_what_is_dead_makes_room():
    accesses = [
        MemoryAccess((), (("a", 1000),)),
        MemoryAccess(("a",), (("b", 1000),)),
        MemoryAccess(("b",), (("c", 1000),)),
        MemoryAccess(("c",), ()),
    ]
    offsets, size = allocate(accesses)
    assert offsets["c"] == offsets["a"] != offsets["b"]
    assert size == 2 * 1024


def test_a_result_takes_over_its_operand():
    accesses = [
        MemoryAccess((), (("a", 600),)),
        MemoryAccess(("a",), (("b", 600),), (("a", "b"),)),
        MemoryAccess(("b",), ()),
    ]
    offsets, size = allocate(accesses)
    assert offsets["a"] == offsets["b"]
    assert size == 768


def test_an_operand_that_is_read_again_is_not_taken_over():
    accesses = [
        MemoryAccess((), (("a", 600),)),
        MemoryAccess(("a",), (("b", 600),), (("a", "b"),)),
        MemoryAccess(("a", "b"), ()),
    ]
    offsets, _ = allocate(accesses)
    assert offsets["a"] != offsets["b"]


def test_one_operand_has_one_heir():
    accesses = [
        MemoryAccess((), (("a", 600),)),
        MemoryAccess(("a",), (("b", 600), ("c", 600)), (("a", "b"), ("a", "c"))),
        MemoryAccess(("b", "c"), ()),
    ]
    offsets, _ = allocate(accesses)
    assert offsets["b"] != offsets["c"]


def test_what_lasts_is_never_given_away():
    accesses = [MemoryAccess(("w",), (("a", 300),), (("w", "a"),)), MemoryAccess(("a",), (("b", 300),))]
    offsets, size = allocate(accesses, [("w", 300)])
    assert offsets["w"] not in (offsets["a"], offsets["b"])
    assert size == 3 * 512


@st.composite
def lists(draw):
    """Operations that read what was written before; some results may succeed their operands."""
    accesses, known = [], []
    for k in range(draw(st.integers(1, 12))):
        reads = tuple(draw(st.lists(st.sampled_from(known), unique=True, max_size=3))) if known else ()
        writes = tuple(
            (f"v{k}.{j}", draw(st.sampled_from([1, 256, 300, 1024]))) for j in range(draw(st.integers(1, 2)))
        )
        pairs = tuple((r, w) for r in reads for w, _ in writes if draw(st.booleans()))
        accesses.append(MemoryAccess(reads, writes, pairs))
        known += [name for name, _ in writes]
    return accesses


@given(lists(), st.integers(0, 2))
@settings(max_examples=300)
def test_values_that_live_together_are_apart(accesses, count):
    lasting = [(f"w{k}", 100) for k in range(count)]
    offsets, size = allocate(accesses, lasting)
    sizes = dict(lasting) | {name: n for access in accesses for name, n in access.writes}
    first = {name: at for at, access in reversed(list(enumerate(accesses))) for name, _ in access.writes}
    last = dict(first) | {name: at for at, access in enumerate(accesses) for name in access.reads}
    lives = {name: (first[name], last[name]) for name in first} | {name: (-1, len(accesses)) for name, _ in lasting}
    allowed = {(old, new, at) for at, access in enumerate(accesses) for old, new in access.in_place}
    for a, (begin, end) in lives.items():
        assert offsets[a] % ALIGNMENT == 0
        assert offsets[a] + sizes[a] <= size
        for b, (start, stop) in lives.items():
            overlap = offsets[a] < offsets[b] + sizes[b] and offsets[b] < offsets[a] + sizes[a]
            if a < b and overlap:
                apart = end < start or stop < begin
                succeeds = (end == start and (a, b, end) in allowed) or (stop == begin and (b, a, stop) in allowed)
                assert apart or succeeds, (a, b)
