"""A mail server for tests. It keeps each message as a file in a folder: sender, recipients, an empty line, the message."""

import argparse
import asyncio
import os
import ssl

from aiosmtpd.smtp import SMTP, AuthResult

parser = argparse.ArgumentParser()
parser.add_argument("--folder", required=True, help="for messages; beside it the file `port` tells which one the system gave")
parser.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
parser.add_argument("--certificate")
parser.add_argument("--key")
parser.add_argument("--login", help="USER:PASSWORD, demanded")
parser.add_argument("--answer", action="append", default=[], help="ADDRESS=WORDS, or MAIL=… or DATA=…: says this instead of 250")
options = parser.parse_args()
answers = dict(answer.split("=", 1) for answer in options.answer)
kept = 0


class Keep:
    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if "MAIL" in answers:
            return answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in answers:
            return answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        global kept
        if "DATA" in answers:
            return answers["DATA"]
        kept += 1
        head = "".join(f"{line}\n" for line in [f"from {envelope.mail_from}", *(f"to {to}" for to in envelope.rcpt_tos)])
        aside = os.path.join(options.folder, ".aside")
        with open(aside, "wb") as file:
            file.write(head.encode() + b"\n" + envelope.content)
        os.rename(aside, os.path.join(options.folder, f"{kept:04}"))
        return f"250 kept as {kept}"


def let_in(server, session, envelope, mechanism, data):
    given = f"{data.login.decode()}:{data.password.decode()}"
    return AuthResult(success=given == options.login, handled=False)


async def main():
    context = None
    if options.tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    starttls = context if options.tls == "starttls" else None

    def server():
        return SMTP(
            Keep(),
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=let_in if options.login else None,
            auth_required=options.login is not None,
            auth_require_tls=starttls is not None,
        )

    implicit = context if options.tls == "implicit" else None
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=implicit)
    aside = f"{options.folder}.aside"
    with open(aside, "w") as file:
        file.write(str(listener.sockets[0].getsockname()[1]))
    os.rename(aside, os.path.join(os.path.dirname(options.folder), "port"))
    async with listener:
        await listener.serve_forever()


asyncio.run(main())
