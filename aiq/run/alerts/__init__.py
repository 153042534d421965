"""
Alerts: somebody is told, in the right place, once, and nothing waits for it.

    channel     one way out, and what it means that it failed
    webhook     plain JSON to a URL
    chat        LINE, Discord, Slack, mail and the rest, through apprise
    notice      a message in words and as JSON, free of secrets and of mentions
    courier     one channel's queue, with retries
    dispatch    alerts in, notices out
    triage      a short explanation, asked of a provider that is not sick
    opening     all of it from settings
    run_events  what a run tells of
    provider_events   what it tells of each of its providers
    watched     a run with its alerts

What becomes a message, and when, is `aiq.policy.alerting`.
"""
