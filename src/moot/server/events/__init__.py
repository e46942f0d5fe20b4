"""The log of a space.

log           appending: the next sequence number, the speaker, the thread
addressing    the recipients of a message, for each of whom a delivery is queued
reserved      the marks of the server's own entries, which no message may bear
reading       pages of the log, mentions, threads, transcripts
searching     full-text search
pruning       removing the oldest entries
"""
