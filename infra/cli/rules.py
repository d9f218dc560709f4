"""`gatehouse rules`: list, show, apply, compare, export and remove trust rules."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import click

from functions.shared.clients.client import Client
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.clients.trust_rule import TrustRule

from .changes import (
    Change,
    Kind,
    plan,
    refuse_conflicts,
    show_differences,
    show_file,
    text_of,
    write_after_confirmation,
)
from .context import CommandContext, pass_context
from .documents import RULES, plain, read_file, to_yaml
from .errors import NotFoundError, UsageError
from .options import Command, Group
from .output import TextTable
from .record_store import SEEN_WITHIN, ClientTable, RuleTable, refuse_broken
from .rule_explanations import TESTS, explain, test

_ALWAYS = frozenset({"disabled"})
_EFFECT = f"The token endpoint follows {SEEN_WITHIN}. Issued tokens stay valid until they expire."


@click.group(cls=Group)
def rules() -> None:
    """Manage and explain trust rules: tokens for the JWTs of other issuers (RFC 7523)."""


@rules.command("list")
@pass_context
def list_rules(context: CommandContext) -> None:
    """List the rules; exit with 4 if a record cannot be read."""
    with context.terminal.progress("Reading the rules"):
        seen = RuleTable.of(context).list()
    found = [each.readable for each in seen if each.readable]
    context.terminal.show(
        [plain(rule, _ALWAYS) for rule in found],
        TextTable(("rule", "assertions", "conditions", "tokens"), map(_row, found)),
    )
    refuse_broken(seen)


@rules.command()
@click.argument("name")
@pass_context
def show(context: CommandContext, name: str) -> None:
    """Show a rule as an entry of a rules file."""
    with context.terminal.progress("Reading the rule"):
        seen = RuleTable.of(context).get(name)
    document = plain(seen.record, _ALWAYS)
    context.terminal.show(document, to_yaml([document], RULES))


@rules.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path), help="Rules file, YAML or JSON.")
@click.option("--dry-run", is_flag=True, help="Show the changes without writing them.")
@click.option("--prune", is_flag=True, help="Delete rules that the file does not contain.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def apply(context: CommandContext, file: Path, *, dry_run: bool, prune: bool, yes: bool) -> None:
    """Create and update rules from a file.

    Shows the differences, asks for confirmation, and writes a rule only if it has not changed since.
    Refuses rules that overlap, and rules that would give more than their client may get. Rules that
    are not in the file are listed; --prune deletes them.
    """
    documents = read_file(file, RULES)
    table = RuleTable.of(context)
    with context.terminal.progress("Reading the rules"):
        changes = plan(RULES, documents, table.list(), prune=prune)
        check_clients(context, [change.wanted for change in changes if change.wanted])
    check_overlaps(changes)
    written, failed = write_after_confirmation(context.terminal, changes, table, dry_run=dry_run, yes=yes)
    if written:
        context.terminal.note(_EFFECT)
    refuse_conflicts(RULES, failed)


@rules.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path), help="Rules file, YAML or JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 for rules outside the file too.")
@pass_context
def diff(context: CommandContext, file: Path, *, strict: bool) -> None:
    """Compare the rules of a file with the deployment; exit with 1 if they differ.

    Rules that are not in the file are listed. They change the exit code only with --strict.
    """
    documents = read_file(file, RULES)
    with context.terminal.progress("Reading the rules"):
        changes = plan(RULES, documents, RuleTable.of(context).list())
    show_differences(context, changes, strict=strict)


@rules.command(cls=Command)
@pass_context
def export(context: CommandContext) -> None:
    """Print all rules as a rules file."""
    with context.terminal.progress("Reading the rules"):
        documents = [plain(rule, _ALWAYS) for rule in refuse_broken(RuleTable.of(context).list())]
    show_file(context.terminal, RULES, documents)


@rules.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_context
def remove(context: CommandContext, name: str, *, yes: bool) -> None:
    """Delete a rule, after a confirmation. Tokens that it has given stay valid until they expire."""
    table = RuleTable.of(context)
    seen = table.get(name)
    context.terminal.confirm(
        f"Delete rule {name} for {seen.item['issuer']['S']} of {context.deployment.label}?", yes=yes
    )
    table.delete(seen)
    context.terminal.show({"name": name, "deleted": True}, f"Rule {name} deleted.")
    context.terminal.note(_EFFECT)


@rules.command(cls=Command)
@click.option("--tests", is_flag=True, help="Print the schema of a file for gatehouse rules test.")
@pass_context
def schema(context: CommandContext, *, tests: bool) -> None:
    """Print the JSON schema of a rules file."""
    context.terminal.write(json.dumps((TESTS if tests else RULES).schema, indent=2))


for command in (explain, test):
    rules.add_command(command)


def check_overlaps(changes: Sequence[Change[TrustRule]]) -> None:
    """Return if no assertion could match two rules, one of them in the file; raises UsageError."""
    left = [change.seen.readable for change in changes if change.kind is Kind.NOT_IN_FILE and change.seen]
    wanted = [change.wanted for change in changes if change.wanted]
    found = [f"{one.name} and {other.name}" for one, other in overlapping(wanted, [each for each in left if each])]
    if found:
        raise UsageError(
            f"One assertion could match two rules: {', '.join(found)}.",
            "Add a condition that separates them, or disable one.",
        )


def overlapping(rules: Sequence[TrustRule], others: Sequence[TrustRule] = ()) -> Iterator[tuple[TrustRule, TrustRule]]:
    """Yield pairs of rules that one assertion could match."""
    for number, rule in enumerate(rules):
        yield from ((rule, other) for other in chain(rules[number + 1 :], others) if rule.overlaps(other))


def check_clients(context: CommandContext, wanted: Sequence[TrustRule]) -> None:
    """Return if each rule narrows what its client may get.

    Raises:
        NotFoundError: a client does not exist.
        UsageError: a client may not use the grant type, or may get less than the rule allows.
    """
    clients = ClientTable.of(context)
    found = {client_id: clients.find(client_id) for client_id in sorted({rule.client_id for rule in wanted})}
    unknown = [client_id for client_id, seen in found.items() if seen is None]
    if unknown:
        raise NotFoundError(
            f"Rules name clients that do not exist: {', '.join(unknown)}.",
            f"Register each: gatehouse clients create {unknown[0]} --grant-type {JWT_BEARER} --method none.",
        )
    known = {client_id: seen.record for client_id, seen in found.items() if seen}
    excesses = [f"rule {rule.name}: {each}" for rule in wanted for each in excess(rule, known[rule.client_id])]
    if excesses:
        raise UsageError(f"Rules give more than their clients may get: {'; '.join(excesses)}.")


def excess(rule: TrustRule, client: Client) -> Iterator[str]:
    """Yield what a rule gives that its client may not get."""
    name = client.client_id
    if JWT_BEARER not in client.grant_types:
        yield f"client {name} may not use the grant type {JWT_BEARER}"
    if scopes := sorted(rule.scopes - client.scopes):
        yield f"client {name} may not get the scopes {' '.join(scopes)}"
    if audiences := sorted(rule.audiences - {*client.audience, *client.allowed_resources}):
        yield f"client {name} may not address {', '.join(audiences)}"
    if claims := sorted(rule.copied_claims & client.claims.keys()):
        yield f"client {name} has the claim {', '.join(claims)} itself"


def _row(rule: TrustRule) -> Sequence[object]:
    tokens = [rule.client_id, f"sub {rule.subject}" if rule.subject else "", " ".join(sorted(rule.scopes))]
    return (
        "\n  ".join(filter(None, (rule.name, "disabled" * rule.disabled))),
        f"{rule.profile} of\n{rule.issuer}",
        "\n".join(f"{name}: {text_of(value)}" for name, value in rule.claims.items()),
        "\n".join(filter(None, tokens)),
    )
