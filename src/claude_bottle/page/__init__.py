"""The page to approve and deny requests on a phone, and the webhooks that announce new requests.

    page = Page(Bottles(), PageAddress.of("127.0.0.1:8043"), key=new_key())
    page.serve()

`tokens` keeps the single-use tokens, `site` answers requests, `safeguards` refuses most of them, `markup` makes the
HTML, `webhooks` sends messages, `serving` listens.
"""
