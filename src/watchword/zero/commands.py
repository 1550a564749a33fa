"""docs/zero.md §9: `watchword zero …`, over files and standard streams: which command is which function."""

from collections.abc import Callable

import typer

from watchword.zero import holder, verifier

zero_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zero-knowledge identities: prove who you are without sharing a secret.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "create": holder.create,
    "info": verifier.info,
    "verify": verifier.verify_identity,
    "derive": holder.derive,
    "challenge": verifier.challenge,
    "prove": holder.prove,
    "verify-proof": verifier.verify_proof,
    "attest": verifier.attest,
    "renew": holder.renew,
    "revoke": holder.revoke,
    "agent": holder.run_agent,
}

for _name, _command in COMMANDS.items():
    zero_app.command(_name)(_command)
