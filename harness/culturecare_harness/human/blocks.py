"""Block designs: which conditions stand together in an item, in which place, so that each is compared with each as often as can be.

With more conditions than fit into an item, an incomplete block design is balanced where every condition stands in equally many blocks and
every two conditions stand together in equally many (Yates, 1936, "Incomplete randomized blocks"). Such designs exist for some numbers only:
where a construction is known it is used, and elsewhere a seeded search comes as near as it can.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

from pydantic import Field

from culturecare import CultureCareError, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

__all__ = ["Balance", "balanced_blocks", "balanced_places", "known_design", "measure_balance"]

Block = tuple[int, ...]

_STEPS = 8_000
_RESTARTS = 2
_LARGEST_FAMILY = 500
_LARGEST_SEARCH = 200_000


class Balance(Record):
    """How balanced a design is.

    Attributes:
        blocks: Number of blocks.
        conditions: Number of conditions.
        size: Conditions in a block.
        occurrences: In how many blocks a condition stands, the least and the most.
        together: In how many blocks two conditions stand together, the least and the most over all pairs.
        places: How often a condition stands in a place, the least and the most over all conditions and places.
    """

    blocks: int = Field(ge=0)
    conditions: int = Field(ge=1)
    size: int = Field(ge=1)
    occurrences: tuple[int, int]
    together: tuple[int, int]
    places: tuple[int, int]

    @property
    def balanced(self) -> bool:
        """Whether every condition occurs equally often, and every two conditions stand together equally often."""
        return self.occurrences[0] == self.occurrences[1] and self.together[0] == self.together[1]


def measure_balance(blocks: Sequence[Sequence[int]], conditions: int) -> Balance:
    """Counts how often conditions occur, stand together, and stand in each place.

    Args:
        blocks: Conditions of each block in the order of their places, all of one size.
        conditions: Number of conditions, which are called 0, 1, 2 and so on.
    """
    size = len(blocks[0]) if blocks else 1
    occurrences = Counter(itertools.chain.from_iterable(blocks))
    together = Counter(pair for block in blocks for pair in itertools.combinations(sorted(block), 2))
    places = Counter((condition, place) for block in blocks for place, condition in enumerate(block))
    of_pairs = [together[pair] for pair in itertools.combinations(range(conditions), 2)] or [0]
    of_places = [places[condition, place] for condition in range(conditions) for place in range(size)]
    of_conditions = [occurrences[condition] for condition in range(conditions)]
    return Balance(
        blocks=len(blocks),
        conditions=conditions,
        size=size,
        occurrences=(min(of_conditions), max(of_conditions)),
        together=(min(of_pairs), max(of_pairs)),
        places=(min(of_places), max(of_places)),
    )


def balanced_blocks(conditions: int, size: int, blocks: int, chance: Random, before: Sequence[Block] = ()) -> list[Block]:
    """Makes so many blocks, in which conditions occur and meet as equally often as can be.

    Args:
        conditions: Number of conditions.
        size: Conditions in a block, no more than there are.
        blocks: Number of blocks.
        chance: Where chance comes from; with the same state the blocks are the same.
        before: Blocks of the same conditions that there are already, such as another culture's; what is uneven in them is evened out.

    Returns:
        Blocks in random order. No two conditions' numbers of occurrences differ by more than one.

    Raises:
        CultureCareError: A block would have more conditions than there are, or none.
    """
    if not 1 <= size <= conditions:
        raise CultureCareError(f"a block of {size} cannot be made of {conditions} conditions; its size must be from 1 to {conditions}")
    made: list[Block] = []
    if known := known_design(conditions, size, blocks):
        names = list(range(conditions))
        chance.shuffle(names)
        made = [tuple(names[condition] for condition in block) for block in known * (blocks // len(known))]
    # Whole designs are balanced in themselves, so that what is left over is balanced on its own.
    made += _search(conditions, size, blocks - len(made), chance, before)
    chance.shuffle(made)
    return made


def known_design(conditions: int, size: int, at_most: int) -> list[Block] | None:
    """A balanced design with at most so many blocks, by a known construction; null where none is known here.

    Tried are all blocks of that size, a cyclic difference set (Bose, 1939, "On the construction of balanced incomplete block designs") and,
    for q² conditions in blocks of q with q a prime or 4, the affine plane. Of several, one whose number of blocks divides `at_most` is
    taken, and of these the largest.
    """
    designs = [design for design in _designs(conditions, size) if len(design) <= at_most]
    return max(designs, key=lambda design: (at_most % len(design) == 0, len(design)), default=None)


def _designs(conditions: int, size: int) -> Iterator[list[Block]]:
    if math.comb(conditions, size) <= _LARGEST_FAMILY:
        yield list(itertools.combinations(range(conditions), size))
    if base := _difference_set(conditions, size):
        yield [tuple(sorted((element + shift) % conditions for element in base)) for shift in range(conditions)]
    if size * size == conditions and size in {2, 3, 4, 5, 7}:
        yield _affine_plane(size)


def _difference_set(conditions: int, size: int) -> Block | None:
    """Residues whose differences take every value but 0 equally often, found by trial; null where there are none or too many to try."""
    if size < 2 or size * (size - 1) % (conditions - 1) or math.comb(conditions - 1, size - 1) > _LARGEST_SEARCH:
        return None
    times = size * (size - 1) // (conditions - 1)
    for rest in itertools.combinations(range(1, conditions), size - 1):
        base = (0, *rest)
        differences = Counter((a - b) % conditions for a, b in itertools.permutations(base, 2))
        if all(differences[value] == times for value in range(1, conditions)):
            return base
    return None


def _affine_plane(order: int) -> list[Block]:
    """The lines of the affine plane over the field of `order` elements; the point (x, y) is the condition x · order + y."""
    if order == 4:  # The field of four elements: 2 is a root of t² + t + 1, and addition is bitwise.
        product = ((0, 0, 0, 0), (0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2))

        def on_line(slope: int, x: int, shift: int) -> int:
            return product[slope][x] ^ shift
    else:

        def on_line(slope: int, x: int, shift: int) -> int:
            return (slope * x + shift) % order

    elements = range(order)
    lines = [tuple(x * order + on_line(slope, x, shift) for x in elements) for slope in elements for shift in elements]
    return lines + [tuple(x * order + y for y in elements) for x in elements]


def _search(conditions: int, size: int, blocks: int, chance: Random, before: Sequence[Block]) -> list[Block]:
    """The best of some runs of simulated annealing, each of which keeps the occurrences equal and evens out the pairs."""
    best: list[set[int]] = []
    best_cost = math.inf
    bound = _least_cost(conditions, size, blocks + len(before))
    occurred = Counter(itertools.chain.from_iterable(before))
    for _ in range(_RESTARTS):
        found, cost = _anneal(_fill(conditions, size, blocks, occurred, chance), conditions, bound, before, chance)
        if cost < best_cost:
            best, best_cost = found, cost
        if best_cost <= bound:
            break
    return [tuple(sorted(block)) for block in best]


def _least_cost(conditions: int, size: int, blocks: int) -> int:
    """Sum of the squared numbers of meetings if they were as equal as whole numbers can be."""
    pairs = conditions * (conditions - 1) // 2
    if not pairs:
        return 0
    each, more = divmod(blocks * size * (size - 1) // 2, pairs)
    return more * (each + 1) ** 2 + (pairs - more) * each**2


def _fill(conditions: int, size: int, blocks: int, occurred: Mapping[int, int], chance: Random) -> list[set[int]]:
    """Blocks in which each condition occurs equally often, or once more: each block takes those that have the most left to do."""
    each, more = divmod(blocks * size, conditions)
    extra = set(sorted(range(conditions), key=lambda condition: (occurred.get(condition, 0), chance.random()))[:more])
    left = [each + (condition in extra) for condition in range(conditions)]
    filled = []
    for _ in range(blocks):
        order = sorted(range(conditions), key=lambda condition: (-left[condition], chance.random()))
        block = set(order[:size])
        for condition in block:
            left[condition] -= 1
        filled.append(block)
    return filled


def _anneal(blocks: list[set[int]], conditions: int, bound: int, before: Sequence[Block], chance: Random) -> tuple[list[set[int]], int]:
    """Exchanges conditions between blocks while that evens out how often two conditions meet."""
    met = [[0] * conditions for _ in range(conditions)]
    for block in (*before, *blocks):
        for a, b in itertools.permutations(block, 2):
            met[a][b] += 1
    cost = sum(met[a][b] ** 2 for a, b in itertools.combinations(range(conditions), 2))
    best, best_cost = [set(block) for block in blocks], cost
    for step in range(_STEPS):
        if best_cost <= bound or len(blocks) < 2:
            break
        one, other = chance.sample(range(len(blocks)), 2)
        leaving = sorted(blocks[one] - blocks[other])
        coming = sorted(blocks[other] - blocks[one])
        if not leaving:
            continue
        x, y = chance.choice(leaving), chance.choice(coming)
        stay, rest = blocks[one] - {x}, blocks[other] - {y}
        # Where z stays with both, its meetings with x and y do not change.
        change = sum(2 * (met[y][z] - met[x][z] + 1) for z in stay - rest) + sum(2 * (met[x][z] - met[y][z] + 1) for z in rest - stay)
        temperature = 1.5 * (1 - step / _STEPS) + 1e-9
        if change > 0 and chance.random() >= math.exp(-change / temperature):
            continue
        for gained, lost, others in ((y, x, stay - rest), (x, y, rest - stay)):
            for z in others:
                met[gained][z] += 1
                met[z][gained] += 1
                met[lost][z] -= 1
                met[z][lost] -= 1
        blocks[one], blocks[other] = stay | {y}, rest | {x}
        cost += change
        if cost < best_cost:
            best, best_cost = [set(block) for block in blocks], cost
    return best, best_cost


def balanced_places(blocks: Sequence[Block], chance: Random) -> list[Block]:
    """Orders each block so that every condition stands in every place equally often, or once more.

    This is a colouring of the edges of the bipartite graph of blocks and conditions with one colour a place, in which each condition is
    split into parts of as many edges as there are places: by König's theorem (1916) it always exists. The parts follow the order of the
    blocks, so that also in a stretch of them no place is much more frequent than another.

    Args:
        blocks: Conditions of each block, all of one size.
        chance: Where chance comes from.

    Returns:
        The same blocks, each in the order of its places.
    """
    if not blocks:
        return []
    size = len(blocks[0])
    conditions = max(condition for block in blocks for condition in block) + 1
    taken: Counter[int] = Counter()
    edges = []
    for number, block in enumerate(blocks):
        edges += [(number, condition + conditions * (taken[condition] // size)) for condition in block]
        taken.update(block)
    chance.shuffle(edges)
    of_block: list[dict[int, int]] = [{} for _ in blocks]  # Block: place -> part of a condition that stands there.
    of_part: dict[int, dict[int, int]] = {}  # Part: place -> block in which it stands there.
    for number, part in edges:
        _colour(number, part, of_block, of_part.setdefault(part, {}), of_part, size)
    places = list(range(size))
    chance.shuffle(places)
    return [tuple(at[place] % conditions for place in places) for at in of_block]


def _colour(
    number: int, part: int, of_block: list[dict[int, int]], at_part: dict[int, int], of_part: dict[int, dict[int, int]], size: int
) -> None:
    """Gives the edge between a block and a part of a condition a place that is free at both, after exchanging two places on a path."""
    at_block = of_block[number]
    free_at_block = next(place for place in range(size) if place not in at_block)
    free_at_part = next(place for place in range(size) if place not in at_part)
    if free_at_block != free_at_part:
        # The path of edges in these two places that begins at the part never ends at the block; exchanged, it frees a place at both.
        path = []
        here, wanted = part, free_at_block
        while wanted in of_part[here]:
            block = of_part[here][wanted]
            path.append((block, here, wanted))
            other = free_at_part if wanted == free_at_block else free_at_block
            if other not in of_block[block]:
                break
            here = of_block[block][other]
            path.append((block, here, other))
        for block, at, place in path:
            del of_block[block][place]
            del of_part[at][place]
        for block, at, place in path:
            exchanged = free_at_part if place == free_at_block else free_at_block
            of_block[block][exchanged] = at
            of_part[at][exchanged] = block
    of_block[number][free_at_block] = part
    at_part[free_at_block] = number
