"""Whatever a provider does, what is told of it makes sense."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiq.policy.alert import AlertLevel
from aiq.policy.anomaly import Detector
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import Observation
from aiq.policy.standing import Status

_answers = st.builds(
    Observation,
    status=st.sampled_from([Status.HEALTHY, Status.DEGRADED]),
    latency_ms=st.none() | st.floats(0, 1e7) | st.sampled_from([800.0, 8000.0]),
)
_others = st.builds(
    Observation,
    status=st.sampled_from([Status.UNHEALTHY, Status.DISABLED, Status.UNKNOWN]),
    reason=st.just("why"),
)
_stretches = st.lists(st.tuples(_answers | _others, st.integers(1, 60)), max_size=12)
_settings = st.builds(
    MonitorSettings,
    in_a_row=st.integers(1, 6),
    critical_in_a_row=st.integers(1, 6),
    drift_samples=st.integers(2, 20),
    error_share=st.floats(0.01, 1),
)


@given(stretches=_stretches, settings=_settings, limit_ms=st.none() | st.floats(1, 1e5))
def test_what_begins_is_told_once_and_only_that_ends(
    stretches: list[tuple[Observation, int]], settings: MonitorSettings, limit_ms: float | None
) -> None:
    """A title is begun, becomes worse at most, is over; and what lasts was told of."""
    detector = Detector(settings, provider="p", limit_ms=limit_ms)
    told: dict[str, AlertLevel] = {}
    now = 0.0
    for seen, times in stretches:
        for _ in range(times):
            now += 60.0
            for alert in detector.observe(seen, now=now).alerts:
                if alert.title.startswith("now "):
                    continue
                assert alert.detail
                if alert.is_recovery:
                    assert told.pop(alert.title) is alert.level
                else:
                    assert told.get(alert.title, AlertLevel.INFO) < alert.level
                    told[alert.title] = alert.level
            worst = detector.worst
            assert worst is None or told[worst.sign.value] is worst.level


@given(stretches=_stretches, settings=_settings)
def test_whoever_does_well_for_long_enough_is_well(
    stretches: list[tuple[Observation, int]], settings: MonitorSettings
) -> None:
    """No condition lasts for ever: 260 usual answers end each of them."""
    detector = Detector(settings, provider="p", limit_ms=1000.0)
    for seen, times in stretches:
        for _ in range(times):
            detector.observe(seen, now=0.0)
    for _ in range(260):
        detector.observe(Observation(status=Status.HEALTHY, latency_ms=700.0), now=1.0)
    assert detector.worst is None
