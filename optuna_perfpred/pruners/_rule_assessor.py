from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.samplers import BruteForceSampler
from optuna.samplers import GridSampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler

from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import N_RECENT
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.pruners._assessment import PeerAssessment
from optuna_perfpred.pruners._assessment import RelativeAssessment


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import EarlierStudies
    from optuna_perfpred.forecasts import Situation
    from optuna_perfpred.forecasts import StoppingRule
    from optuna_perfpred.forecasts import StudySettings
    from optuna_perfpred.forecasts import TrialForecasts
    from optuna_perfpred.history import FinishedTrials


# Without a confidence, a trial is stopped if its chance for each step is less than this multiple
# of a new trial's in a long study, that at which stopped ones go on,
_LEAST_RATIO = 1.0
# and less than half of that until this many trials have finished: what one or two teach is
# unsure. Where trials are proposed at random, end after different lengths or return their best
# report, the trial that is stopped is lost, and slow ones among short ones all are.
_N_CAREFUL = 30
# A sampler that learns comes back to what was promising, and finds more the earlier it has
# trials to learn from (`benchmarks/in_loop.py`).
_N_CAREFUL_WHERE_SAMPLER_LEARNS = 5
# Beside trials that began together, of which none is complete: multiples of an average trial's
# chance to be the best of them. How long a full training is, is not known then. At half, eight
# workers lose more than they save.
_LEAST_RATIO_OF_PEERS = 0.35


class RuleAssessor:
    """Decides on the running trials of one study by its forecast. Safe with threads.

    Args:
        rule:
            The rule of the forecast.
        settings:
            The pruner's arguments.
        confidence:
            The confidence, or :obj:`None` to be the more careful the fewer trials have finished.
        least_ratio:
            Without a confidence, the multiple of a new trial's chance below which a trial is
            stopped, however many have finished.
        sampler:
            The sampler of the study, or :obj:`None` to be as careful as with one at random.
        uses_peers:
            Whether to decide before the first trial is complete.
        earlier:
            The earlier studies, if others ask for them too.
        warn:
            Told of a study whose reports tell nothing of what it returns.

    Attributes:
        forecast:
            The forecast of the study.
    """

    def __init__(
        self,
        rule: StoppingRule,
        settings: StudySettings,
        *,
        confidence: float | None = None,
        least_ratio: float | None = None,
        sampler: BaseSampler | None = None,
        uses_peers: bool = False,
        earlier: EarlierStudies | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.forecast = StudyForecast(rule, settings, earlier, warn)
        self._settings = settings
        self._odds = None if confidence is None else (1.0 - confidence) / confidence
        self._given_ratio = least_ratio
        self._sampler_learns = sampler is not None and _learns(sampler)
        self._uses_peers = uses_peers

    def assess(
        self,
        finished: FinishedTrials,
        trial: FrozenTrial,
        running: Sequence[FrozenTrial] = (),
    ) -> RelativeAssessment | PeerAssessment | None:
        """Assess a running trial.

        Args:
            finished:
                The finished trials of the study.
            trial:
                The running trial, which has reported.
            running:
                The trials that run, itself perhaps among them.

        Returns:
            The assessment, or :obj:`None` if nothing can be told: too few trials are complete,
            the trial has reported no number yet, or it has reached the end of a full curve.
        """
        attrs = self._settings.feature_attrs
        curve = Curve.read(trial, attrs)
        if self._uses_peers and len(finished.completed) == 0:
            others = [t for t in running if t.number != trial.number and t.intermediate_values]
            peers = [Curve.read(other, attrs) for other in others]
            peers += [Curve.of(record) for record in finished.latest(N_RECENT)]
            assessment = self._among_peers(curve, peers)
            if assessment is not None:
                return assessment
        # Of others that run it is not asked: what they had reported by now is not kept, and a
        # decision must follow from what is.
        forecasts = self.forecast.of(finished, [curve])
        if forecasts is None:
            return None
        relative = float(forecasts.relative_chance[0])
        settings = self._settings
        return RelativeAssessment(
            step=int(curve.steps[-1]),
            predicted_value=float(forecasts.mean[0]),
            predicted_std=float(forecasts.std[0]),
            probability=_share(relative),
            least_probability=_share(self._least_ratio(forecasts)),
            probability_of_beating_best=float(forecasts.chance[0]),
            reference=forecasts.to_beat,
            rank=settings.top_n,
            offset=settings.offset,
            relative_chance=relative,
        )

    def situation(self, finished: FinishedTrials, trial: FrozenTrial) -> Situation | None:
        """Find what the forecast of a trial is made of; :obj:`None` if there is none."""
        curve = Curve.read(trial, self._settings.feature_attrs)
        situation, _ = self.forecast.situation(finished, [curve])
        return situation

    def _least_ratio(self, forecasts: TrialForecasts) -> float:
        """Give the multiple of a new trial's chance below which a trial is stopped."""
        if self._odds is not None:
            return self._odds
        improvement = forecasts.odds_of_improvement
        if self._given_ratio is not None:
            return self._given_ratio * improvement
        n = (forecasts.n_finished + 1) * improvement
        is_bold = self._sampler_learns and forecasts.end_alike
        n_careful = _N_CAREFUL_WHERE_SAMPLER_LEARNS if is_bold else _N_CAREFUL
        return _LEAST_RATIO * improvement * n / (n + n_careful)

    def _among_peers(self, curve: Curve, others: Sequence[Curve]) -> PeerAssessment | None:
        peers = self.forecast.among_peers(curve, others)
        if peers is None:
            return None
        relative = peers.chance * peers.n_peers
        odds = 1.0 if self._odds is None else self._odds
        return PeerAssessment(
            step=int(curve.steps[-1]),
            predicted_value=float(curve.values[-1]),
            predicted_std=peers.spread,
            probability=_share(relative),
            least_probability=_share(_LEAST_RATIO_OF_PEERS * odds),
            probability_of_beating_best=peers.chance,
            reference=peers.best,
            rank=peers.rank,
            offset=0.0,
            n_peers=peers.n_peers,
        )


def _share(relative_chance: float) -> float:
    """Give the probability that this trial, and not a new one, gives the next best value."""
    return relative_chance / (1.0 + relative_chance)


# Optuna's samplers that propose the same whatever trials have shown.
_SAMPLERS_THAT_DO_NOT_LEARN = (BruteForceSampler, GridSampler, QMCSampler, RandomSampler)


def _learns(sampler: BaseSampler) -> bool:
    if isinstance(sampler, PartialFixedSampler):
        sampler = sampler._base_sampler
    return not isinstance(sampler, _SAMPLERS_THAT_DO_NOT_LEARN)
