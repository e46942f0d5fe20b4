/* The types and tags of PROTOCOL.md. src/pyro_mcp/guest_protocol/frames.py has the same lists; a test compares them. */
#ifndef PYRO_AGENT_PROTOCOL_H
#define PYRO_AGENT_PROTOCOL_H

#include <stdint.h>

enum {
    VERSION = 1,
    PORTS = 16,
    NONCE_SIZE = 16,
    INPUT_WINDOW = 256 << 10,       /* bytes of input that a client may send before they are reported by TAKEN */
};

enum type {
    HELLO = 1, SETUP, EXEC, INPUT, SIGNAL, FLUSH, POWEROFF, CLOCK,
    WELCOME = 64, OK, ERROR, STARTED, STDOUT, STDERR, TAKEN, EXIT, ALIVE,
};

enum tag {
    TAG_NONCE = 1, TAG_VERSION, TAG_BUILD, TAG_PHASE, TAG_CLOCK, TAG_ENTROPY, TAG_HOSTNAME, TAG_FILE, TAG_ARG,
    TAG_ENV, TAG_CWD, TAG_TIMEOUT_MS, TAG_STDIN, TAG_NUMBER, TAG_TEXT, TAG_SIGNALLED, TAG_TIMED_OUT,
    TAG_TOOL, TAG_GENERATION, TAG_PAUSE, TAG_ALIVE,
};

static const uint8_t SYNC[16] = { 255, 255, 255, 255, 255, 255, 255, 255, 'P', 'Y', 'R', 'O', '/', '1', '\r', '\n' };

#endif
