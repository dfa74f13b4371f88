"""Methods as a user writes them: one class, given as ``file.py:Class``."""

from collections.abc import Mapping, Sequence

from p2o.core.credit import Credit, KlTerm, credit_of
from p2o.core.methods import EpochEnd, Method

HINT = "Show your work. Go from the last digit to the first. Keep the carry. State the total at the end."


class Always(Method):
    """Every rollout is drawn under the hint, and trained as P²O's settings say."""

    def credit(self, epoch: int) -> Credit:
        return credit_of(self.settings, epoch)

    def prompts(self, sample_id: str) -> Sequence[str]:
        return [HINT] * self.group_size


class Hints(Method):
    """Samples that no rollout solved are drawn again under the hint, and no others."""

    hinted: list[str] = []  # noqa: RUF012  (replaced, never changed)

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        again = [i for i in ids if i in self.hinted]
        return [again[n % len(again)] for n in range(len(ids))] if again else ids

    def prompts(self, sample_id: str) -> Sequence[str]:
        return [HINT] * self.group_size if sample_id in self.hinted else ()

    def between_epochs(self, end: EpochEnd) -> None:
        self.hinted = [i for i, tally in end.tallies.items() if not tally.successes]

    def state_dict(self) -> dict[str, list[str]]:
        return {"hinted": self.hinted}

    def load_state_dict(self, state: Mapping[str, list[str]]) -> None:
        self.hinted = state["hinted"]


class WithKl(Method):
    """Asks for one more term of the loss."""

    def credit(self, epoch: int) -> Credit:
        return Credit(kl=KlTerm(weight=1.0, top_k=20, clip=10.0))
