"""Spaces, and the actors that have joined them.

spaces          finding, making, changing and listing spaces
participants    joining, statuses, last-seen times
"""
