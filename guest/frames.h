/* The framing of PROTOCOL.md: what agent.c and tool.c need both to read and to write frames. */
#ifndef PYRO_FRAMES_H
#define PYRO_FRAMES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    END_MARK = 0xA7,
    HEADER_SIZE = 5,
    FIELD_SIZE = 5,
    NUMBER_SIZE = 8,
    MAX_PAYLOAD = 1 << 20,
    MAX_FRAME = HEADER_SIZE + MAX_PAYLOAD + 1,
};

/* A frame as it lies in a buffer: its payload may be changed in place, its end mark too. */
struct frame {
    uint8_t type;
    uint8_t *payload;
    size_t size;
};

struct field {
    uint8_t tag;
    uint8_t *data;
    size_t size;
};

/* The size that a header or a field begins with. */
static inline uint32_t size_at(const uint8_t *at) {
    uint32_t size;
    memcpy(&size, at, sizeof size);
    return le32toh(size);
}

static inline uint64_t number_at(const uint8_t *at) {
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return le64toh(number);
}

/* Takes the field at `*position`. False when there is none: at the payload's end, or before it if a field is broken. */
static inline bool next_field(const struct frame *frame, size_t *position, struct field *field) {
    if (frame->size - *position < FIELD_SIZE)
        return false;
    uint8_t *at = frame->payload + *position;
    *field = (struct field){ at[0], at + FIELD_SIZE, size_at(at + 1) };
    if (field->size > frame->size - *position - FIELD_SIZE)
        return false;
    *position += FIELD_SIZE + field->size;
    return true;
}

/* Writes a field; the first byte after it. */
static inline uint8_t *write_field(uint8_t *at, uint8_t tag, const void *data, size_t size) {
    uint32_t little = htole32(size);
    at[0] = tag;
    memcpy(at + 1, &little, sizeof little);
    memcpy(at + FIELD_SIZE, data, size);
    return at + FIELD_SIZE + size;
}

/* Completes the frame whose payload ends at `end`: its header, its end mark; the first byte after it. */
static inline uint8_t *complete_frame(uint8_t *frame, uint8_t type, uint8_t *end) {
    uint32_t size = htole32(end - frame - HEADER_SIZE);
    memcpy(frame, &size, sizeof size);
    frame[HEADER_SIZE - 1] = type;
    *end = END_MARK;
    return end + 1;
}

#endif
