"""Redaction of secrets in bytes and text.

A `Mask` knows the secrets by name, and replaces each by `[secret NAME]`, in the forms that programs print: as it is,
each of its longer lines, base64, hex, and with any of its characters escaped. `docs/secrets.md` lists all forms.

    mask = Mask({"TOKEN": "ghp_0123456789"})
    mask.text("the token is ghp_0123456789")     # 'the token is [secret TOKEN]'
    mask.everything({"output": ["ghp_0123456789"]})  # a JSON value, keys included

Output that arrives in pieces goes through a `MaskStream`, which holds back only an end that may begin a secret:

    stream = mask.stream()
    shown = stream.feed(b"ghp_01234")  # b''
    shown += stream.feed(b"56789 ok")  # b'[secret TOKEN] ok'
    shown += stream.finish()

Redaction protects against accidents: a program that wants to can encode a secret in a form that is not looked for.
"""

from pyro_mcp.redaction.masking import Mask, MaskStream

__all__ = ["Mask", "MaskStream"]
