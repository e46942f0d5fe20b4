"""Tenants, actors and their keys: who is calling, and who may see whom.

tokens      what a key looks like, and its hash
callers     the caller that a key belongs to
actors      making, reading and changing actors; rotating keys
personal    personal access tokens
"""
