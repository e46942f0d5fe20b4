"""The rules for texts that look like secrets: those of detect-secrets, and our own for a few more services."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain

_OWN = {
    "Anthropic key": r"sk-ant-[a-z0-9]{3,10}-[A-Za-z0-9_-]{24,}",
    "OpenAI project key": r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}",
    "Google API key": r"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_])",
    "GitHub fine-grained token": r"github_pat_[A-Za-z0-9_]{60,}",
    "age secret key": r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{34,}",
    "Vault token": r"hv[bsr]\.[A-Za-z0-9_-]{24,}",
    "DigitalOcean token": r"do[opr]_v1_[a-f0-9]{64}",
    "Tailscale key": r"tskey-[a-z]+-[A-Za-z0-9]{8,}-[A-Za-z0-9]{20,}",
}
# A line that is longer is searched in parts that overlap: some expressions take time that grows faster than a line.
_LONGEST_LINE, _OVERLAP = 4096, 512

Detector = Callable[[str], Iterator[str]]


def detectors() -> dict[str, Detector]:
    """Return a function for each kind of secret, which yields the secrets of that kind in a line."""
    from detect_secrets.plugins import (  # noqa: PLC0415 - slow to import, and only the scanner needs it
        artifactory,
        aws,
        azure_storage_key,
        discord,
        github_token,
        gitlab_token,
        ibm_cloud_iam,
        ibm_cos_hmac,
        jwt,
        mailchimp,
        npm,
        openai,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )

    plugins = [
        artifactory.ArtifactoryDetector(),
        aws.AWSKeyDetector(),
        azure_storage_key.AzureStorageKeyDetector(),
        discord.DiscordBotTokenDetector(),
        github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(),
        ibm_cloud_iam.IbmCloudIamDetector(),
        ibm_cos_hmac.IbmCosHmacDetector(),
        jwt.JwtTokenDetector(),
        mailchimp.MailchimpDetector(),
        npm.NpmDetector(),
        openai.OpenAIDetector(),
        private_key.PrivateKeyDetector(),
        pypi_token.PypiTokenDetector(),
        sendgrid.SendGridDetector(),
        slack.SlackDetector(),
        square_oauth.SquareOAuthDetector(),
        stripe.StripeDetector(),
        telegram_token.TelegramBotTokenDetector(),
        twilio.TwilioKeyDetector(),
    ]
    ours = {name: _detector(re.compile("(?<![A-Za-z0-9])" + pattern)) for name, pattern in _OWN.items()}
    return {**{str(one.secret_type): one.analyze_string for one in plugins}, **ours}


def secrets_in(line: str, known: dict[str, Detector]) -> Iterator[tuple[str, str]]:
    """Yield the kind and the value of each secret in a line."""
    line = line.encode("latin-1", "replace").decode("ascii", "replace")  # no other character is a letter: re's `\\b`
    parts = [line[at : at + _LONGEST_LINE] for at in range(0, max(len(line), 1), _LONGEST_LINE - _OVERLAP)]
    for part, (kind, detect) in ((part, item) for part in parts for item in known.items()):
        for value in detect(part):
            yield kind, value


def _detector(pattern: re.Pattern[str]) -> Detector:
    return lambda line: chain(match[0] for match in pattern.finditer(line))
