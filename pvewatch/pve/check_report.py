"""What `pvewatch check` has found: lines for people, JSON for scripts, and an exit code by severity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Literal

import click

State = Literal["ok", "warning", "error"]
About = Literal["configuration", "host", "certificate", "version", "feature", "token", "seen"]
Lacking = Literal["", "user", "token", "both", "unknown"]

EXIT_OK, EXIT_TO_MEND, EXIT_CONFIGURATION, EXIT_UNREACHABLE = 0, 1, 2, 3
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    `remedy` is commands or a setting, empty when nothing is to do. `privilege`, `path` and who is `lacking` it are told
    of features. `reason` of an error: configuration, unreachable, certificate, auth, privilege, or another class.
    """

    cluster: str
    subject: str
    state: State
    detail: str
    remedy: str = ""
    about: About = "host"
    reason: str = ""
    privilege: str = ""
    path: str = ""
    lacking: Lacking = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the configuration."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when there is no error; warnings are things that can be lived with."""
        return all(finding.state != "error" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 without an error, else that of the gravest: configuration, unreachable, anything else."""
        reasons = {finding.reason for finding in self.findings if finding.state == "error"}
        if not reasons:
            return EXIT_OK
        if "configuration" in reasons:
            return EXIT_CONFIGURATION
        return EXIT_UNREACHABLE if "unreachable" in reasons else EXIT_TO_MEND

    def as_json(self) -> dict[str, Any]:
        """The report for scripts."""
        findings = [asdict(finding) for finding in self.findings]
        return {"ok": self.ok, "exit_code": self.exit_code, "findings": findings}


def print_report(report: Report) -> None:
    """Print what was found, cluster by cluster, then each remedy once, in a form that can be copied.

    Colours are left out where the output is no terminal.
    """
    lines = list(_lines(report.findings))
    width = max((len(subject) for _, _, subject, _ in lines), default=0)
    for cluster, found in groupby(lines, key=lambda line: line[0]):
        click.secho(cluster or "all clusters", bold=True)
        for _, state, subject, detail in found:
            click.echo(f"  {click.style(f'{state:<9}', fg=_COLOURS[state])}{subject:<{width}}  {detail}")
    remedies: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        if finding.remedy:
            remedies.setdefault((finding.cluster, finding.remedy), []).append(finding.subject)
    if remedies:
        click.secho("\nTo mend it", bold=True)
    for (where, remedy), subjects in remedies.items():
        click.echo(f"  {where + ': ' if where else ''}{', '.join(dict.fromkeys(subjects))}")
        for text in remedy.splitlines():
            click.echo(f"      {text}")
    errors = sum(finding.state == "error" for finding in report.findings)
    click.echo("\nEverything needed is there." if report.ok else f"\n{errors} to mend.")


def _lines(findings: Sequence[Finding]) -> Iterator[tuple[str, State, str, str]]:
    """Cluster, state, subject and detail; the features of a cluster that are well share one line."""
    for cluster, found in groupby(findings, key=lambda finding: finding.cluster):
        together = list(found)
        features = [finding for finding in together if finding.about == "feature"]
        troubled = {finding.subject for finding in features if finding.state != "ok"}
        well = list(dict.fromkeys(finding.subject for finding in features if finding.subject not in troubled))
        told = False
        for finding in together:
            if finding.about == "feature" and finding.state == "ok":
                if not told and well:
                    yield cluster, "ok", f"{len(well)} features", ", ".join(well)
                told = True
            else:
                yield cluster, finding.state, finding.subject, finding.detail
