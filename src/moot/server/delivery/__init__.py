"""What becomes of a message to a recipient.

queued ──> pushed ──> acknowledged
   └─────────┴──> dead ──> queued          (sent again)

receipts    the states in the database, and the cursor of each participant
turns       which calls of an agent show a turn, and so acknowledge what was pushed before
feeds       the live part: wake-ups, and the last frames of each space in memory
pushes      collects what was pushed, and writes it down in one go
"""
