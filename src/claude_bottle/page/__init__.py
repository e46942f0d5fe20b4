"""The page to approve and deny requests on a phone, and the webhooks that announce new requests.

    with closing(Page(Bottles(), PageOptions(port=8043), webhooks, say)) as page:
        page.serve()

`tokens` keeps the single-use tokens, `site` answers requests, `safeguards` refuses most of them, `markup` makes the
HTML, `webhooks` sends messages, `serving` listens.
"""
