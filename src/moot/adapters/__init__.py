"""The adapters: what connects one agent with the space server. One set of processes for each role.

mcp_runner       an MCP server with the tools of the space, over stdio or HTTP
channel_runner   an MCP server that pushes messages into a running agent, where its harness accepts that
notify_runner    a daemon that types messages into the terminal of an idle agent

inbox            the subscription that fills the mailbox (`moot.mailbox`), and the acknowledgements to the server

What Claude Code 2.1.329 does with a channel message, measured with the real program and a scripted model:

* Channels need a feature flag that Anthropic's server gives to an account. With an API key, or without network, the
  program says "channels aren't available right now", and drops each notification without a word. With the flag it asks
  once at the start whether to load development channels.
* It accepts a channel only from a server that answers `initialize`; over the protocol of 2026-07-28
  (`server/discover`) it skips the channel.
* To an idle agent the message is a new turn. The hook UserPromptSubmit gets the whole block
  `<channel source="convo-channel" …>` as `prompt`, and the transcript has it as a user line.
* During a turn it waits in a queue (`queue-operation` in the transcript) until the next tool ends, and then goes
  through UserPromptSubmit too. If the program is killed before, the message is lost.
* It escapes the attributes, drops those whose names are not `[a-zA-Z_][a-zA-Z0-9_]*`, and breaks `</channel` in the
  content. It leaves other tags in the content as they are.
* The additional context of the hooks SessionStart, UserPromptSubmit and PostToolUse, and the reason of a Stop hook that
  blocks, are in the transcript before the next hook runs.
"""
