"""The options that several commands of `watchword zero` take."""

from typing import Annotated, Literal

import typer

from watchword.zero.files import STREAM, Format


def in_a_file(path: str | None) -> str | None:
    """Refuse a standard stream, as wrong usage, for what has to be a file of its own."""
    if path == STREAM:
        raise typer.BadParameter("this has to be a file, not a standard stream")
    return path


ProofFormat = Literal["text", "json", "binary", "sd-jwt"]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")]
Form = Annotated[Format, typer.Option("--format", help="text, json or binary.")]
Out = Annotated[str, typer.Option("--out", help="File to write, - for standard output.")]
SecretFile = Annotated[
    str | None, typer.Option("--secret", callback=in_a_file, help="The encrypted secret file.")
]
PassphraseFile = Annotated[
    str | None,
    typer.Option("--passphrase-file", callback=in_a_file, help="File (mode 0600) that holds the passphrase."),
]
Verifier = Annotated[
    str | None, typer.Option("--verifier", help="Who verifies, such as https://api.example.")
]
Purpose = Annotated[str | None, typer.Option("--purpose", help="What the proof is for, such as login.")]
Expires = Annotated[str, typer.Option("--expires", help="Lifetime, such as 365d.")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", "-a", help="NAME=TEXT, or NAME:=JSON for a number or boolean."),
]
Channel = Annotated[
    str | None, typer.Option("--channel", help="jkt:THUMBPRINT (DPoP key) or tls-exporter:HEX.")
]
Registry = Annotated[str | None, typer.Option("--revocations", help="Registry of revocations to check.")]
AgentSocket = Annotated[
    str | None, typer.Option("--agent", envvar="WATCHWORD_ZERO_AGENT", help="The agent's socket.")
]
IdentityId = Annotated[str | None, typer.Option("--id", help="Which of the agent's identities to use.")]
DeriveFor = Annotated[
    str | None,
    typer.Option("--derive-for", help="Use the identity derived for the verifier and this purpose."),
]
ProofFile = Annotated[str, typer.Argument(help="The proof, - for standard input.")]
KnownIdentity = Annotated[str | None, typer.Option("--identity", help="The prover's identity.")]
MadeChallenge = Annotated[str | None, typer.Option("--challenge", help="The challenge that you made.")]
Leeway = Annotated[int, typer.Option("--leeway", min=0, max=300, help="Seconds that clocks may differ.")]
