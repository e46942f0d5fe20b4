"""Tenants, actors and their keys: the caller of each call, and the actors that it may see.

tokens      what a key looks like, and its hash
callers     the caller that a key belongs to
names       the names that actors may have
actors      making, reading and changing actors; rotating keys
personal    personal access tokens
derived     keys that were made with another key: sessions of browsers, keys that programs fetch
grants      OAuth with PKCE
"""
