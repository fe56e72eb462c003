"""How fast a server is called: as many calls at once as it bears, so many a minute, and none while it asks to be left alone."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from typing import TYPE_CHECKING

from culturecare import CultureCareError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from culturecare_harness.prices import Spending

__all__ = ["Clock", "Pace", "backoff"]

_SMALLEST_START = 8
_START_SHARE = 4
_DOUBLING = 0.1  # Seconds; a server that has no room says so at once, long before it would have answered.
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


class Clock:
    """Time, as an argument: a test passes one of its own and waits for nothing."""

    def __init__(self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.now, self.sleep = now, sleep


def backoff(failures: int, chance: float | None = None) -> float:
    """Seconds to wait before a call is made again.

    They double with every failure up to half a minute. Half of them is left to chance, so that calls that failed together do not come
    again together.

    Args:
        failures: How often the call failed, from 1.
        chance: A number in [0, 1], drawn where none is given.
    """
    chance = random.random() if chance is None else chance  # noqa: S311 - no secret.
    return min(_LONGEST_DELAY, math.ldexp(_FIRST_DELAY, min(failures - 1, 10))) * (0.5 + chance / 2)


class _Rate:
    """So many units a minute, spread evenly: a server that counts within seconds refuses a minute's worth at once."""

    def __init__(self, per_minute: int | None) -> None:
        self._seconds = 0.0 if per_minute is None else 60 / per_minute
        self._free = 0.0

    def book(self, units: float, now: float) -> float:
        """Takes units, and returns the time from which they are free."""
        start = max(self._free, now)
        self._free = start + units * self._seconds
        return start

    def correct(self, units: float) -> None:
        """Takes more units than were booked, or gives some back."""
        self._free += units * self._seconds


class Pace:
    """When the next call may begin. It begins small, grows with each answer, and halves when the server refuses a call for want of room.

    The growth is that of TCP (RFC 5681, section 3.1): twofold until the first refusal, by about one call a round of answers from then on.

    Attributes:
        allowed: Calls that may be under way at once now.
    """

    def __init__(
        self, most: int, spending: Spending, clock: Clock, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
    ) -> None:
        """Begins with a quarter of `most` calls at once, but no fewer than eight where `most` allows them."""
        self.allowed: float = min(most, max(_SMALLEST_START, most // _START_SHARE))
        self._most, self._spending, self._clock = most, spending, clock
        self._requests, self._tokens = _Rate(requests_per_minute), _Rate(tokens_per_minute)
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._gate = 0.0  # No call begins before.
        self._halved = float("-inf")
        self._refused_before = False
        self._is_over = False

    @contextlib.asynccontextmanager
    async def call(self, tokens: int, cost: float) -> AsyncIterator[float]:
        """Waits until a call may begin, and takes note of its end; the caller settles its cost with `Spending`.

        Args:
            tokens: Tokens that it is likely to send and be sent.
            cost: US dollars that it may cost at most.

        Yields:
            When it began.

        Raises:
            CultureCareError: It might pass the limit of what may be spent, and no call is under way that might turn out cheaper.
        """
        await self._room_for(cost)
        self._under_way += 1
        self._spending.reserve(cost)
        try:
            yield await self._turn(tokens)
        finally:
            self._under_way -= 1
            self._wake()

    async def grow(self) -> None:
        """Doubles the calls that may be under way as long as the server refuses none, so that slow answers need not be waited for."""
        while self.allowed < self._most:
            await self._clock.sleep(_DOUBLING)
            if self._refused_before:
                return
            self.allowed = min(self._most, self.allowed * 2)
            self._wake()

    def answered(self, tokens: int, expected: int) -> None:
        """Takes note of an answer, and of its tokens in place of those that were expected."""
        self._tokens.correct(tokens - expected)
        if self.allowed < self._most:
            self.allowed = min(self._most, self.allowed + (1 / self.allowed if self._refused_before else 1))

    def refused(self, began: float, wait: float | None) -> None:
        """Takes note of a refusal for want of room.

        Args:
            began: When the call began; of calls that were under way together, one refusal halves the number and the others do not.
            wait: Seconds for which the server asks to be left alone, by all calls.
        """
        now = self._clock.now()
        self._refused_before = True
        if began > self._halved:
            self.allowed = max(1.0, self.allowed / 2)
            self._halved = now
        if wait is not None:
            self._gate = max(self._gate, now + wait)

    async def _room_for(self, cost: float) -> None:
        while True:
            if self._under_way < int(self.allowed):
                if not self._is_over and self._spending.affords(cost):
                    return
                if not self._under_way:
                    self._is_over = True  # A cheaper call must not slip through and be broken off by the end of this one.
                    raise CultureCareError(
                        f"max_cost is ${self._spending.limit:g}, ${self._spending.cost:.4f} of it are spent, and the next call may cost "
                        f"${cost:.4f}; raise max_cost, and the same command goes on from here"
                    )
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    async def _turn(self, tokens: int) -> float:
        """Waits for the rates and for the server; a refusal meanwhile makes the call queue again."""
        while True:
            now = self._clock.now()
            start = max(self._gate, self._requests.book(1, max(now, self._gate)), self._tokens.book(tokens, max(now, self._gate)))
            if start > now:
                await self._clock.sleep(start - now)
            if self._gate <= start or self._gate <= self._clock.now():
                return self._clock.now()

    def _wake(self) -> None:
        """Lets as many go on as there is room for; each looks anew whether it may."""
        for _ in range(min(len(self._waiting), int(self.allowed) - self._under_way)):
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
