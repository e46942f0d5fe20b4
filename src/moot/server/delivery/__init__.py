"""The delivery of a message to each of its recipients.

queued ──> pushed ──> acknowledged
   └─────────┴──> dead ──> queued          (sent again)

receipts    the states in the database, and the cursor of each participant
turns       the calls of an agent that acknowledge what was pushed before
feeds       the live part: wake-ups, and the last frames of each space in memory
pushes      the positions of subscriptions, stored a few times a second
"""
