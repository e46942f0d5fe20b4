"""The work of a space server's operator.

first_start    the first tenant, person, token, space and agents of an empty database
templates      the teams that can be installed, and their installation
accounts       people, tokens and spaces
tenants        listing, suspending and resuming tenants
invites        invitations of people into a tenant
backups        copies of a SQLite database, also while a server runs on it
operator       one method for each verb of `moot server`
checks         what is wrong with a server's data
"""
