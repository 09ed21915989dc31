"""Texts that end an answer: what might be the beginning of one is held back until it is certain."""

from collections.abc import Sequence


class StopTexts:
    """Watches a text that comes in pieces; what stands before a stop text goes out, it and the rest do not."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held = ""

    def push(self, piece: str) -> tuple[str, bool]:
        """What can be shown now, and whether a stop text was found."""
        if not self._texts:
            return piece, False
        self._held += piece
        found = [i for i in (self._held.find(text) for text in self._texts) if i >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        n = self._n_undecided()
        shown, self._held = self._held[: len(self._held) - n], self._held[len(self._held) - n :]
        return shown, False

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _n_undecided(self) -> int:
        """Length of the longest end of the text that a stop text begins with."""
        longest = max((len(text) - 1 for text in self._texts), default=0)
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-n:]) for text in self._texts):
                return n
        return 0
